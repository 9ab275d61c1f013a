"""Operators that need a model: they rewrite many texts at a time, under the same guard as the rules.

A model may say anything, so more is checked than of a rule: beside the guard's facts no finding may be lost, and what the evaluation
noise puts in may not come out (`confusions.gains_reserved`).
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from emr_fl_client.augment.operator import shared_guard
from emr_fl_shared.text.confusions import gains_reserved
from emr_fl_shared.text.edits import Edit, apply_edits
from emr_fl_shared.text.lexicon import load_lexicon

LOST = "lost finding"
RESERVED = "evaluation noise"
"""Beside the guard's kinds of facts: what else a rewriter may be rejected for."""


class Rewriter(ABC):
    """Rewrites texts by a model; changes wording, never meaning.

    `rejected` counts what was left out, by kind of fact and whatever else the operator rejects; `changed` counts changed texts.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        self.changed = 0

    @abstractmethod
    def propose(self, texts: Sequence[str], rng: random.Random) -> list[list[Edit]]:
        """For each text edits that do not overlap; the same texts and generator state give the same edits."""

    def rewrite(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """For each text the text with those edits that together keep every fact; all that is left out is counted."""
        results = [
            self._kept(text, edits) for text, edits in zip(texts, self.propose(texts, rng), strict=True)
        ]
        self.changed += sum(result != text for result, text in zip(results, texts, strict=True))
        return results

    def _kept(self, text: str, edits: list[Edit]) -> str:
        result = apply_edits(text, edits)
        if not _broken(text, result):
            return result
        kept: list[Edit] = []
        result = text
        for edit in edits:
            candidate = apply_edits(text, [*kept, edit])
            if broken := _broken(text, candidate):
                self.rejected.update(broken)
            else:
                kept.append(edit)
                result = candidate
        return result


def _broken(before: str, after: str) -> list[str]:
    if before == after:
        return []
    broken = shared_guard().violations(before, after)
    if _findings(before) - _findings(after):
        broken.append(LOST)
    if gains_reserved(before, after):
        broken.append(RESERVED)
    return broken


def _findings(text: str) -> set[str]:
    return {match.entry.value for match in load_lexicon().matches(text) if match.entry.clinical}


class Rewriters:
    """Which texts the rewriters take from the rules: each drawn by its share against `rules_share`."""

    def __init__(self, rules_share: float, shares: Mapping[Rewriter, float]) -> None:
        self._drawn: tuple[Rewriter | None, ...] = (None, *shares)
        self._weights = (rules_share, *shares.values())

    def __iter__(self) -> Iterator[Rewriter]:
        return (rewriter for rewriter in self._drawn if rewriter is not None)

    def draw(self, rng: random.Random) -> Rewriter | None:
        """Who takes the next text; `None`: the rules."""
        return rng.choices(self._drawn, weights=self._weights)[0]
