"""Noise for evaluation: the slips of a busy outpatient clinic, at a chosen rate.

Kinds, with their share of the operations drawn: wrong character of the same or an easily confused sound (pinyin input),
wrong character of a similar shape (pen and OCR input), abbreviations and spoken wordings, dropped characters, stray or
doubled punctuation, spaces and full-width letters.

All replacements come from the evaluation side of `confusions`, which training augmentation never uses. Typing errors may
hit any word, also a denied one or a drug's name, as they do in real notes; never touched are digits, placeholders and the
characters that carry the meaning: negations, doubt, sides, changes, persons, stages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from emr_fl_shared.text.confusions import (
    FULL_WIDTH,
    MEANINGFUL,
    homophones,
    lookalikes,
    marks,
    term_pairs,
    unit_pairs,
)
from emr_fl_shared.text.edits import Edit, apply_edits, fits
from emr_fl_shared.text.guard import Analysis, Guard
from emr_fl_shared.text.normalise import is_hanzi

KIND_WEIGHTS = {"sound": 0.38, "shape": 0.20, "wording": 0.14, "drop": 0.18, "debris": 0.10}
"""How often each kind is drawn; a wording touches about three characters, the others one."""

_NEVER = frozenset(("placeholder", "number", "sign", "level", "stage", "negation", "phrase")) | frozenset(
    ("uncertainty", "side", "trend", "experiencer", "demography")
)


def make_noisy(texts: Sequence[str], *, rate: float = 0.10, seed: int) -> list[str]:
    """A noisy copy of every text.

    About `rate` of a text's characters are touched (replaced, dropped, or debris beside them). The noise of a text
    depends on `seed`, its index and itself only. Texts that offer too few places are touched less.
    Raises ValueError if `rate` is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError("rate must be between 0 and 1")
    guard = Guard(remember=0)
    return [
        apply_edits(text, plan_noise(guard.read(text), rate, random.Random(f"noise:{seed}:{index}"))[0])
        for index, text in enumerate(texts)
    ]


def plan_noise(analysis: Analysis, rate: float, rng: random.Random) -> tuple[list[Edit], int]:
    """The edits for one text, not overlapping, and how many characters they touch."""
    text = analysis.text
    budget = int(rate * len(text) + rng.random())
    planner = _Planner(analysis, rng)
    touched = 0
    kinds = dict(KIND_WEIGHTS)
    while touched < budget and kinds:
        kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
        count = planner.add(kind, budget - touched)
        if count is None:
            del kinds[kind]
        else:
            touched += count
    return planner.edits, touched


class _Planner:
    """Chooses places for one text; no place is used twice."""

    def __init__(self, analysis: Analysis, rng: random.Random) -> None:
        self.text = analysis.text
        self.rng = rng
        self.edits: list[Edit] = []
        self.taken = bytearray(len(self.text))
        for start, end, kind in analysis.protected:
            if kind in _NEVER:
                self.taken[start:end] = b"\x01" * (end - start)
        wordings = term_pairs("test")
        units = unit_pairs("test")
        candidates = [
            (span.start, span.end, wordings[span.wording])
            for span in analysis.terms
            if span.wording in wordings
        ]
        candidates += [
            (span.start, span.end, units[span.wording]) for span in analysis.units if span.wording in units
        ]
        self.wordings = rng.sample(candidates, len(candidates))
        self.units = {span.start for span in analysis.units}
        self.places = rng.sample(range(len(self.text)), len(self.text))

    def add(self, kind: str, room: int) -> int | None:
        """Plan one more edit of this kind; how many characters it touches, or `None` if no place is left for it."""
        if kind == "wording":
            return self._wording(room)
        for index, place in enumerate(self.places):
            char = self.text[place]
            if self.taken[place]:
                continue
            replacement = self._character(kind, char)
            if replacement is not None:
                self.edits.append(Edit(place, place + 1, replacement))
                self.taken[place] = 1
                del self.places[index]
                return 1
        return None

    def _character(self, kind: str, char: str) -> str | None:
        """What stands in for one character, `None` if this kind has nothing for it."""
        if kind == "debris":
            if char in marks("test"):
                return self.rng.choice(marks("test")[char])
            if char.isascii() and char.isalpha():
                return chr(ord(char) + FULL_WIDTH)
            return f"{char} " if is_hanzi(char) and self.rng.random() < 0.2 else None
        if not is_hanzi(char) or char in MEANINGFUL:
            return None
        if kind == "drop":
            return ""
        others = (homophones if kind == "sound" else lookalikes)("test").get(char)
        return self.rng.choice(others) if others else None

    def _wording(self, room: int) -> int | None:
        while self.wordings:
            start, end, others = self.wordings.pop()
            length = end - start
            # a unit stands inside its number's protected span; every other wording needs a free place
            if start not in self.units and any(self.taken[start:end]):
                continue
            choices = [other for other in others if fits(self.text, start, end, other) or start in self.units]
            # a long wording in little room only sometimes, so that the rate is right on average
            if not choices or self.rng.random() >= room / length:
                continue
            self.edits.append(Edit(start, end, self.rng.choice(choices)))
            self.taken[start:end] = b"\x01" * length
            return length
        return None
