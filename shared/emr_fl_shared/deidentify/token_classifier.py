"""A site's own named-entity model beside the rules: a local Hugging Face folder with a token-classification head.

Nothing is ever fetched and no code or pickle of the folder is run: the weights must be safetensors. What the clinical lexicon protects
is not removed on the model's word alone. Labels may be plain (`PER`) or in BIO, BIOES or BILOU form (`B-PER`).

    [deidentification]
    ner = "models/our-ner"
    ner_labels = { PER = "PATIENT_NAME", LOC = "ADDRESS" }
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emr_fl_shared.deidentify.own_labels import kinds_of_labels
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import findings, words
from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import position_limit, quiet_transformers
from emr_fl_shared.model.precision import choose_device

BATCH = 32
_OVERLAP = 32
_LEAST_SCORE = 0.5
_LONGEST = 512
_PREFIXES = ("B", "I", "E", "S", "L", "U")
# Recognisers get folded text; a model was trained on text as people type it, with full-width marks beside Chinese.
_MARK = re.compile("(?<=[一-鿿])[,;:!?()]|[,;:!?()](?=[一-鿿])")
_FULL_WIDTH = {char: chr(ord(char) + 0xFEE0) for char in ",;:!?()"}
_WHERE = "deidentification.ner"


class TokenClassifier:
    """A recogniser; see `Recogniser` and the module's docstring.

    `labels` maps the model's labels (without B-, I- …) to kinds; empty: labels that are kinds themselves.
    `device`: auto, cpu or cuda:N. Raises `ModelError` (no such folder, not readable, no trained head, a label or kind that does
    not exist) and `SettingsError` (no such GPU).
    """

    name = "ner"

    def __init__(self, folder: Path, labels: Mapping[str, str] | None = None, *, device: str = "cpu") -> None:
        self._model, self._tokenizer = _load(Path(folder))
        self._kind_of = _kinds_by_index(self._model.config.id2label, labels or {})
        self.kinds: tuple[str, ...] = tuple(sorted({entity[1] for entity in self._kind_of.values()}))
        self._device = choose_device(device)
        self._model.to(self._device).eval()
        self._length = min(_LONGEST, position_limit(self._model, self._tokenizer))
        self._protected = frozenset(words("protected.txt")) | findings()
        self._seen: dict[str, list[Span]] = {}

    def __repr__(self) -> str:
        return f"TokenClassifier({', '.join(self.kinds)})"

    def warm(self, texts: Sequence[str]) -> None:
        """Read many texts in batches; their findings are kept until the next call."""
        wanted = list(dict.fromkeys(text for text in texts if text))
        self._seen = {}
        for begin in range(0, len(wanted), BATCH):
            batch = wanted[begin : begin + BATCH]
            self._seen.update(zip(batch, self._read(batch), strict=True))

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans that the model finds; see `Recogniser`."""
        if not text.strip():
            return
        found = self._seen.get(text)
        yield from self._read([text])[0] if found is None else found

    @torch.no_grad()
    def _read(self, texts: Sequence[str]) -> list[list[Span]]:
        encoded = self._tokenizer(
            [_MARK.sub(lambda mark: _FULL_WIDTH[mark.group()], text) for text in texts],
            truncation=True,
            max_length=self._length,
            stride=min(_OVERLAP, self._length // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping").tolist()
        text_of: list[int] = encoded.pop("overflow_to_sample_mapping").tolist()
        scores, best = [], []
        for begin in range(0, len(text_of), BATCH):
            part = {name: tensor[begin : begin + BATCH].to(self._device) for name, tensor in encoded.items()}
            top = self._model(**part).logits.float().softmax(dim=-1).max(dim=-1)
            scores += top.values.cpu().tolist()
            best += top.indices.cpu().tolist()
        found: list[list[Span]] = [[] for _ in texts]
        for window, owner in enumerate(text_of):
            found[owner] += self._spans(texts[owner], best[window], scores[window], offsets[window])
        return found

    def _spans(
        self, text: str, best: list[int], scores: list[float], offsets: list[list[int]]
    ) -> Iterator[Span]:
        """The entities of one window."""
        start = end = 0
        kind, sure = "", [0.0]
        for index, score, (first, last) in zip(
            [*best, -1], [*scores, 0.0], [*offsets, [len(text) + 2, len(text) + 3]], strict=True
        ):
            if first == last:  # a special token
                continue
            prefix, found = self._kind_of.get(index, ("", ""))
            if kind and found == kind and prefix not in ("B", "S", "U") and first - end <= 1:
                end = last
                sure.append(score)
                continue
            mean = sum(sure) / len(sure)
            if kind and mean >= _LEAST_SCORE and text[start:end] not in self._protected:
                yield Span(start, end, kind, round(mean, 4))
            start, end, kind, sure = first, last, found, [score]


def _load(folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise ModelError(
            tr("there is no model in this folder", "该目录中没有模型"),
            where=_WHERE,
            got=str(folder),
            expected=tr(
                "a local Hugging Face folder: config.json, model.safetensors, tokenizer",
                "本地 Hugging Face 目录：config.json、model.safetensors、分词器",
            ),
        )
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, use_fast=True
            )
            model, report = AutoModelForTokenClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # transformers and safetensors raise many unrelated types
        raise ModelError(
            tr("the NER model can't be read", "无法读取 NER 模型"),
            where=_WHERE,
            got=f"{folder}: {type(error).__name__}",
            expected=tr("a token-classification model as safetensors", "safetensors 格式的词元分类模型"),
        ) from error
    if report["missing_keys"] or report.get("mismatched_keys"):
        raise ModelError(
            tr("the model has no trained token-classification head", "该模型没有训练好的词元分类层"),
            where=_WHERE,
            got=str(folder),
            do=tr("give the folder of the fine-tuned model", "请给出微调后的模型目录"),
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            tr("the tokenizer gives no offsets", "分词器不提供偏移量"),
            where=_WHERE,
            got=str(folder),
            expected="tokenizer.json",
        )
    return model, tokenizer


def _kinds_by_index(names: Mapping[int, str], labels: Mapping[str, str]) -> dict[int, tuple[str, str]]:
    """Output index → (prefix, kind) of the labels that stand for a kind."""
    entities = {index: _entity(name) for index, name in names.items()}
    known = {entity for _, entity in entities.values()} - {"O"}
    chosen = kinds_of_labels(labels, known, where="deidentification.ner_labels")
    return {
        index: (prefix, chosen[entity]) for index, (prefix, entity) in entities.items() if entity in chosen
    }


def _entity(label: str) -> tuple[str, str]:
    """`B-PER` → (B, PER); `PER` → ("", PER)."""
    prefix, mark, rest = label.partition("-")
    return (prefix, rest) if mark and prefix in _PREFIXES else ("", label)
