"""Spoken words and abbreviations, both ways: 血压 ⇄ BP, 发热 ⇄ 发烧, 2天 ⇄ 2d, 38.5摄氏度 ⇄ 38.5℃."""

from __future__ import annotations

import random

from emr_fl_client.augment.operator import Operator, chosen
from emr_fl_client.augment.wordings import register_pairs, replacements, unit_forms
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis


class Colloquial(Operator):
    """Moves each lexicon term or unit to the other register with probability 0.05.

    Units are written in another way only directly after a number; the number itself stays.
    """

    name = "colloquial"

    def __init__(self, probability: float = 0.05) -> None:
        self.probability = probability

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        table, units = register_pairs(), unit_forms()
        spans = [span for span in analysis.terms if span.wording in table]
        spans += [span for span in analysis.units if span.wording in units]
        edits = []
        for span in chosen(spans, self.probability, rng):
            if span.wording in table:
                edits += replacements(analysis.text, [span], table, rng)
            else:
                edits.append(Edit(span.start, span.end, rng.choice(units[span.wording])))
        return edits
