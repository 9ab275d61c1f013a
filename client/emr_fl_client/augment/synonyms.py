"""Medical synonyms in formal Chinese: 发热 → 体温升高, 头痛 → 头部疼痛."""

from __future__ import annotations

import random

from emr_fl_client.augment.operator import Operator, chosen
from emr_fl_client.augment.wordings import formal_pairs, replacements
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis


class Synonyms(Operator):
    """Replaces each lexicon term by another formal wording of its concept with probability 0.15."""

    name = "synonyms"

    def __init__(self, probability: float = 0.15) -> None:
        self.probability = probability

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        table = formal_pairs()
        spans = [span for span in analysis.terms if span.wording in table]
        return replacements(analysis.text, chosen(spans, self.probability, rng), table, rng)
