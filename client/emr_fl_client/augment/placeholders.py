"""People, hospitals and beds: placeholders dropped, named by a plain word, or put where a plain word stands.

De-identification differs from hospital to hospital and misses some names; a classifier must not lean on placeholders.
Dates are left alone: they order the events.
"""

from __future__ import annotations

import random
import re
from typing import ClassVar

from emr_fl_client.augment.operator import Operator, chosen
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis

PLAIN_WORDS: dict[str, tuple[str, ...]] = {
    "[PATIENT_NAME]": ("患者", ""),
    "[STAFF_NAME]": ("医师", ""),
    "[HOSPITAL]": ("外院", "当地医院", "我院", ""),
    "[DEPARTMENT]": ("我科", "门诊", ""),
    "[BED_NUM]": ("",),
    "[VISIT_NUM]": ("",),
    "[RECORD_NUM]": ("",),
    "[EXAM_NUM]": ("",),
    "[EMPLOYER]": ("单位", ""),
    "[SCHOOL]": ("学校", ""),
}
_NAMED: dict[str, str] = {
    "患者": "[PATIENT_NAME]",
    "当地医院": "[HOSPITAL]",
    "外院": "[HOSPITAL]",
    "我院": "[HOSPITAL]",
    "本院": "[HOSPITAL]",
}
_SOUGHT = re.compile("|".join(map(re.escape, (*PLAIN_WORDS, *_NAMED))))


class Placeholders(Operator):
    """Each placeholder or plain word changes with probability 0.5."""

    name = "placeholders"
    may_change: ClassVar[frozenset[str]] = frozenset(("placeholder",))

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        edits = []
        for match in chosen(list(_SOUGHT.finditer(analysis.text)), self.probability, rng):
            found = match.group()
            new = rng.choice(PLAIN_WORDS[found]) if found in PLAIN_WORDS else _NAMED[found]
            edits.append(Edit(match.start(), match.end(), new))
        return edits
