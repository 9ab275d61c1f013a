"""Punctuation of another keyboard or another hand: half-width, doubled, a stray or a missing space.

A mark is only ever replaced by one that ends a clause as strongly, so no negated list grows or shrinks.
"""

from __future__ import annotations

import random

from emr_fl_client.augment.operator import Operator, chosen
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis
from emr_fl_shared.text.normalise import is_hanzi

_MARKS = {
    "，": (",", "，，", " ，"),
    ",": ("，",),
    "。": ("；", ".", "。。", "。 "),
    "；": (";", "。"),
    ";": ("；",),
    "：": (":", ""),
    ":": ("：",),
    "、": ("、、",),
    " ": ("", "  "),
    "（": ("(",),
    "）": (")",),
}


class Punctuation(Operator):
    """Changes each mark with probability 0.2 and puts a space after a free character with probability 0.02."""

    name = "punctuation"

    def __init__(self, probability: float = 0.2, space_probability: float = 0.02) -> None:
        self.probability = probability
        self.space_probability = space_probability

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        text = analysis.text
        marks = [
            place for place, char in enumerate(text) if char in _MARKS and not self._in_number(text, place)
        ]
        edits = [
            Edit(place, place + 1, rng.choice(_MARKS[text[place]]))
            for place in chosen(marks, self.probability, rng)
        ]
        spaces = int(self.space_probability * len(analysis.free) + rng.random())
        for place in rng.sample(analysis.free, min(spaces, len(analysis.free))):
            if is_hanzi(text[place]):
                edits.append(Edit(place, place + 1, text[place] + " "))
        return edits

    @staticmethod
    def _in_number(text: str, place: int) -> bool:
        """12:30, 1,2 and `T 38` are read with their mark."""
        return place + 1 < len(text) and text[place + 1].isdigit()
