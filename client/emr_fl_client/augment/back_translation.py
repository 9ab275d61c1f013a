"""Back-translation: Chinese → another language → Chinese, by two MarianMT models in local folders.

Sennrich et al., Improving Neural Machine Translation Models with Monolingual Data, ACL 2016, as augmentation: Edunov et al., EMNLP 2018.
A sentence counts only where its BLEU (sacrebleu, tokenizer `zh`, effective order) against the original is above the gate, as in the
paper that emr-fl follows (0.75). Deviations: sentence by sentence, which is what the models were trained on; one with a placeholder is not
translated, and one that breaks a fact is left as it was while the others of its note stay translated. Nothing is fetched: what is
not in the folders does not exist.
"""

from __future__ import annotations

import hashlib
import random
import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from emr_fl_client.augment.rewriter import Rewriter
from emr_fl_client.augment.translations import Translations
from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import find_source, loading, quiet_transformers
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.normalise import normalise
from emr_fl_shared.text.placeholders import PLACEHOLDER

GATE = "BLEU"
"""Beside the guard's kinds: why a translation is rejected."""
_SENTENCE = re.compile(r"[^。；;！!？?\n]+")
_BEAMS = 4


class Marian:
    """One direction. Raises `ModelError` for a folder that is no MarianMT model with safetensors weights, or without sentencepiece."""

    def __init__(self, folder: str, *, device: torch.device) -> None:
        self.folder = Path(find_source(folder))
        try:
            import sentencepiece  # noqa: F401 - the tokenizer needs it, and would say so as if the folder were at fault
        except ImportError as error:
            raise _no_library(error) from error
        from transformers import MarianMTModel, MarianTokenizer

        with quiet_transformers(), loading(str(self.folder)), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*sacremoses"
            )  # it normalises the marks of other languages
            self._tokenizer: Any = MarianTokenizer.from_pretrained(self.folder, local_files_only=True)
            self._model: Any = MarianMTModel.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        self._model.to(device).eval()

    @torch.no_grad()
    def translate(self, sentences: Sequence[str], batch_size: int = 32) -> list[str]:
        """Each sentence in the other language, by beam search; the same every time."""
        order = sorted(range(len(sentences)), key=lambda row: (len(sentences[row]), sentences[row]))
        results = [""] * len(sentences)
        limit = int(self._model.config.max_position_embeddings)
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            encoded = self._tokenizer(
                [sentences[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            ).to(self._model.device)
            longest = min(limit, 2 * int(encoded["input_ids"].shape[1]) + 8)
            answer = self._model.generate(
                **encoded, num_beams=_BEAMS, do_sample=False, max_length=None, max_new_tokens=longest - 1
            )
            for row, ids in zip(rows, answer, strict=True):
                results[row] = self._tokenizer.decode(
                    ids, skip_special_tokens=True, use_source_tokenizer=False
                )
        return results


class BackTranslation(Rewriter):
    """`back_translation`: see the module's docstring."""

    name: ClassVar[str] = "back_translation"

    def __init__(
        self,
        forward: str,
        backward: str,
        *,
        cache: Translations,
        gate: float = 0.75,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self._bleu = _bleu()
        device = device or torch.device("cpu")
        self._forward = Marian(forward, device=device)
        self._backward = Marian(backward, device=device)
        self._cache = cache
        self._gate = gate
        self.translated = 0
        """Sentences that went through the models; the others were known."""

    def propose(self, texts: Sequence[str], rng: random.Random) -> list[list[Edit]]:
        spans = [_sentences(text) for text in texts]
        back = self._back(
            {text[start:end] for text, found in zip(texts, spans, strict=True) for start, end in found}
        )
        return [
            [
                Edit(start, end, back[text[start:end]])
                for start, end in found
                if self._passes(text[start:end], back[text[start:end]])
            ]
            for text, found in zip(texts, spans, strict=True)
        ]

    def _passes(self, sentence: str, back: str) -> bool:
        if back == sentence:
            return False
        if self._bleu.sentence_score(back, [sentence]).score / 100.0 > self._gate:
            return True
        self.rejected[GATE] += 1
        return False

    def _back(self, sentences: set[str]) -> dict[str, str]:
        """Sentence → what came back; what was not known is translated and kept."""
        known = self._known
        new = sorted(sentences - known.keys())
        if new:
            known.update(
                zip(new, map(_chinese, self._backward.translate(self._forward.translate(new))), strict=True)
            )
            self.translated += len(new)
            self._cache.keep(self._models, known)
        return known

    @cached_property
    def _known(self) -> dict[str, str]:
        return self._cache.find(self._models)

    @cached_property
    def _models(self) -> str:
        """SHA-256 (hex) of all files of both folders."""
        digest = hashlib.sha256()
        for folder in (self._forward.folder, self._backward.folder):
            for path in sorted(folder.iterdir()):
                if path.is_file():
                    with path.open("rb") as file:
                        content = hashlib.file_digest(file, "sha256").digest()
                    digest.update(path.name.encode() + b"\0" + content)
        return digest.hexdigest()


def _sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences without the marks between them and without blanks around them; none with a placeholder."""
    found = []
    for match in _SENTENCE.finditer(text):
        sentence = match.group()
        start = match.start() + len(sentence) - len(sentence.lstrip())
        end = match.start() + len(sentence.rstrip())
        if start < end and not PLACEHOLDER.search(sentence):
            found.append((start, end))
    return found


def _chinese(translation: str) -> str:
    """As training texts are normalised, and without the mark that a model puts behind a sentence that had none."""
    return normalise(translation).strip().rstrip("。.；;")


def _bleu() -> Any:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise _no_library(error) from error
    return BLEU(tokenize="zh", effective_order=True)


def _no_library(error: ImportError) -> ModelError:
    return ModelError(
        tr("back-translation needs libraries that are not installed", "回译所需的库未安装"),
        where="rewriting.forward",
        got=error.name or str(error).splitlines()[0],
        do="pip install emr-fl[translation]",
    )
