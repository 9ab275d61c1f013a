"""The words that a prediction rests on, for `emr-fl predict --explain` and `--attention`: on the caller's screen and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emr_fl_shared.model.attribution import WordWeight, attention_rollout, integrated_gradients
from emr_fl_shared.model.encoder import Encoder

SHOWN = 8
"""Words on a line of the terminal; JSON holds all."""


def explanations(encoder: Encoder, text: str, labels: Sequence[int]) -> dict[int, dict[str, Any]]:
    """By label: {words, logit, baseline, error}; Σ weight of the words = logit − baseline, up to `error` (a share of it).

    `words` in reading order: {word, weight}. `text` is de-identified and as the model reads it.
    """
    return {
        found.label: {
            "words": _listed(found.words),
            "logit": round(found.logit, 6),
            "baseline": round(found.baseline, 6),
            "error": round(found.error, 6),
        }
        for found in integrated_gradients(encoder, text, labels)
    }


def looked_at_words(encoder: Encoder, text: str) -> list[dict[str, Any]]:
    """{word, weight} in reading order; `weight`: the share of the attention by roll-out."""
    return _listed(attention_rollout(encoder, text))


def strongest(words: Sequence[Mapping[str, Any]]) -> str:
    """The words with the largest weights, for and against, on one line: `发热 +1.20  无 −0.31`."""
    chosen = sorted(words, key=lambda word: -abs(word["weight"]))[:SHOWN]
    return "  ".join(f"{word['word']} {word['weight']:+.2f}".replace("-", "−") for word in chosen)


def most_looked_at(words: Sequence[Mapping[str, Any]]) -> str:
    """The words with the largest shares on one line: `发热 12 %`."""
    chosen = sorted(words, key=lambda word: -word["weight"])[:SHOWN]
    return "  ".join(f"{word['word']} {100 * word['weight']:.0f} %" for word in chosen)


def _listed(words: Sequence[WordWeight]) -> list[dict[str, Any]]:
    return [{"word": word.word, "weight": round(word.weight, 6)} for word in words]
