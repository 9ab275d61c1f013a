"""Typing errors: characters of the same sound, of a similar shape, and dropped ones.

Replacements come from the training side of `confusions`; the evaluation noise uses none of them.
"""

from __future__ import annotations

import random

from emr_fl_client.augment.operator import Operator
from emr_fl_shared.text.confusions import MEANINGFUL, homophones, lookalikes
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis
from emr_fl_shared.text.normalise import is_hanzi


class CharacterNoise(Operator):
    """Touches a share of the characters that is drawn for each text between 0 and `highest_rate`, at least one."""

    name = "character_noise"

    def __init__(self, highest_rate: float = 0.15, sound: float = 0.5, shape: float = 0.25) -> None:
        """`sound` and `shape` are the shares of their kinds; the rest are dropped characters."""
        self.highest_rate = highest_rate
        self.sound = sound
        self.shape = shape

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        text = analysis.text
        places = [place for place in analysis.free if is_hanzi(text[place]) and text[place] not in MEANINGFUL]
        if not places:
            return []
        count = max(1, int(rng.random() * self.highest_rate * len(text) + rng.random()))
        same_sound, same_shape = homophones("train"), lookalikes("train")
        edits = []
        for place in rng.sample(places, min(count, len(places))):
            draw = rng.random()
            if draw < self.sound:
                others = same_sound.get(text[place])
            elif draw < self.sound + self.shape:
                others = same_shape.get(text[place]) or same_sound.get(text[place])
            else:
                others = ("",)
            if others:
                edits.append(Edit(place, place + 1, rng.choice(others)))
        return edits
