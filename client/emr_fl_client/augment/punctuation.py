"""Punctuation of another hand: another mark, a stray or a missing space.

Replacements come from the training side of `confusions.marks`; half-width and doubled marks are left to the evaluation noise. A mark is
only ever replaced by one that ends a clause as strongly, so no negated list grows or shrinks.
"""

from __future__ import annotations

import random

from emr_fl_client.augment.operator import Operator, chosen
from emr_fl_shared.text.confusions import marks
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis


class Punctuation(Operator):
    """Changes each mark with probability 0.2."""

    name = "punctuation"

    def __init__(self, probability: float = 0.2) -> None:
        self.probability = probability

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        text, others = analysis.text, marks("train")
        places = [
            place for place, char in enumerate(text) if char in others and not self._in_number(text, place)
        ]
        return [
            Edit(place, place + 1, rng.choice(others[text[place]]))
            for place in chosen(places, self.probability, rng)
        ]

    @staticmethod
    def _in_number(text: str, place: int) -> bool:
        """12:30, 1,2 and `T 38` are read with their mark."""
        return place + 1 < len(text) and text[place + 1].isdigit()
