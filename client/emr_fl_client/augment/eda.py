"""Light EDA (Wei & Zou, EMNLP-IJCNLP 2019) on characters: delete, swap, insert.

The paper works on words and calls α the share of words that an operation changes. Without a word segmenter a word is
taken as two characters, so α = 0.1 changes one of twenty free characters. Deviations: synonym replacement is an operator
of its own; insertion doubles a character, as a finger does, instead of adding a word that the patient never said; characters
in the guard's protected spans are never touched.
"""

from __future__ import annotations

import random

from emr_fl_client.augment.operator import Operator
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis
from emr_fl_shared.text.normalise import is_hanzi

_CHARACTERS_A_WORD = 2


class Eda(Operator):
    """One of delete, swap, insert for each call, at `alpha` of the words that are free to change, at least one."""

    name = "eda"

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        text = analysis.text
        places = [place for place in analysis.free if is_hanzi(text[place])]
        if not places:
            return []
        kind = rng.choice(("delete", "swap", "insert"))
        count = max(1, int(self.alpha * len(places) / _CHARACTERS_A_WORD + rng.random()))
        drawn = rng.sample(places, min(count, len(places)))
        if kind == "delete":
            return [Edit(place, place + 1, "") for place in drawn]
        if kind == "insert":
            return [Edit(place, place + 1, text[place] * 2) for place in drawn]
        free = set(places)
        return [Edit(place, place + 2, text[place + 1] + text[place]) for place in drawn if place + 1 in free]
