"""Two small MarianMT models, trained here on the lexicon's own wordings and English names, so that a test really translates.

zh → en reads a sentence of findings character by character and says their English names; en → zh says the first finding of a
sentence in another wording than the one that it came from.
"""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from emr_fl_shared.text.confusions import term_pairs
from emr_fl_shared.text.lexicon import load_lexicon

TERMS, SENTENCES, STEPS, BATCH = 24, 1500, 500, 32


@dataclass(frozen=True)
class Finding:
    """`zh` as it is written, `en` as one word, `other`: what comes back."""

    zh: str
    en: str
    other: str


def findings() -> list[Finding]:
    """Findings of two to four characters, all different, none of which holds a sign that the guard reads."""
    chosen: list[Finding] = []
    allowed = term_pairs("train")
    for term in load_lexicon().findings():
        zh = term.term
        plain = 2 <= len(zh) <= 3 and term.en and not set(zh) & set("无不未左右双加重两")
        others = [other for other in allowed.get(zh, ()) if 2 <= len(other) <= 4]
        if plain and others and not any(set(zh) & set(known.zh) for known in chosen):
            chosen.append(Finding(zh, term.en.lower().replace(" ", "-").replace(",", ""), others[0]))
        if len(chosen) == TERMS:
            return chosen
    raise AssertionError("the lexicon has too few findings")


FINDINGS = findings()


def sentence(rng: random.Random) -> tuple[str, str, str]:
    """Chinese, English, and Chinese again."""
    a, b, c, d = rng.sample(FINDINGS, 4)
    days = rng.randint(2, 9)
    return (
        f"{a.zh}、{b.zh}、{c.zh}{days}天，无{d.zh}",
        f"{a.en} {b.en} {c.en} {days} days no {d.en}",
        f"{a.other}、{b.zh}、{c.zh}{days}天，无{d.zh}",
    )


def pieces(lines: list[str], kind: str) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type=kind,
        vocab_size=120,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        character_coverage=1.0,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def train(
    folder: Path, source: list[str], target: list[str], kinds: tuple[str, str], steps: int = STEPS
) -> str:
    """A MarianMT model from `source` to `target` in `folder`, trained on these pairs."""
    folder.mkdir(parents=True)
    vocabulary = {"</s>": 0, "<unk>": 1}
    for name, lines, kind in zip(("source.spm", "target.spm"), (source, target), kinds, strict=True):
        processor = pieces(lines, kind)
        (folder / name).write_bytes(processor.serialized_model_proto())
        for index in range(processor.get_piece_size()):
            if not processor.is_control(index) and not processor.is_unknown(index):
                vocabulary.setdefault(processor.id_to_piece(index), len(vocabulary))
    vocabulary["<pad>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    tokenizer = MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        model_max_length=64,
    )
    config = MarianConfig(
        vocab_size=len(vocabulary),
        decoder_vocab_size=len(vocabulary),
        d_model=64,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=64,
        dropout=0.0,
        init_std=0.1,
        scale_embedding=True,
        pad_token_id=vocabulary["<pad>"],
        eos_token_id=0,
        bos_token_id=None,
        decoder_start_token_id=vocabulary["<pad>"],
        forced_eos_token_id=None,
        num_beams=1,
    )
    torch.manual_seed(0)
    model = MarianMTModel(config)
    rng = random.Random(0)
    encoded = tokenizer(source, text_target=target)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(steps):
        rows = rng.sample(range(len(source)), BATCH)
        ids = _padded([encoded["input_ids"][row] for row in rows], vocabulary["<pad>"])
        labels = _padded([encoded["labels"][row] for row in rows], -100)
        loss = model(input_ids=ids, attention_mask=(ids != vocabulary["<pad>"]).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def train_both(folder: Path) -> tuple[str, str]:
    """Folders of zh → en and en → zh."""
    triples = [sentence(random.Random(seed)) for seed in range(SENTENCES)]
    chinese, english, back = (list(column) for column in zip(*triples, strict=True))
    return (
        train(folder / "zh-en", chinese, english, ("unigram", "word")),
        train(folder / "en-zh", english, back, ("word", "unigram")),
    )
