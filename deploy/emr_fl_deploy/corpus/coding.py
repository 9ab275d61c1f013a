"""Diagnosis codes and names as each hospital writes them, with its coding habit's errors."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from emr_fl_deploy.corpus.knowledge import Disease, Knowledge

HABITS = ("confusable", "symptom", "omit", "follow-up")
SYMPTOM_LABEL = 48
FOLLOW_UP_LABEL = 50
_OWN_HABIT = 0.7
_PLAIN = re.compile(r"^([A-Z]\d{2})(?:\.(\d))?")
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def coded_diseases(
    diseases: Sequence[Disease], habit: str, rate: float, knowledge: Knowledge, rng: random.Random
) -> tuple[tuple[Disease, ...], bool]:
    """The diseases that the coder enters, and whether they are wrong.

    With probability `rate` the code is wrong in the hospital's own way (70 %) or in another: a confusable disease in
    place of the first, a symptom in its place, a missing further diagnosis, a follow-up code in front.
    """
    entered = list(diseases)
    if rng.random() >= rate:
        return tuple(entered), False
    if rng.random() >= _OWN_HABIT:
        habit = rng.choice(HABITS)
    labels = {disease.label for disease in diseases}
    if habit == "omit" and len(entered) > 1:
        entered.pop(rng.randrange(1, len(entered)))
    elif habit == "follow-up" and FOLLOW_UP_LABEL in knowledge.by_label and FOLLOW_UP_LABEL not in labels:
        entered.insert(0, rng.choice(knowledge.by_label[FOLLOW_UP_LABEL]))
    elif habit == "symptom" and SYMPTOM_LABEL in knowledge.by_label and SYMPTOM_LABEL not in labels:
        entered[0] = rng.choice(knowledge.by_label[SYMPTOM_LABEL])
    else:
        near = [
            label for label in entered[0].confusable if label in knowledge.by_label and label not in labels
        ]
        others = near or [label for label in knowledge.labels if label not in labels]
        entered[0] = rng.choice(knowledge.by_label[rng.choice(others)])
    return tuple(entered), True


def written_code(code: str, form: str, rng: random.Random) -> str:
    """A national code as the hospital's system writes it: `national`, `plain` ICD-10, `full-width` or `mixed`."""
    if form == "mixed":
        form = rng.choice(("national", "plain", "full-width", "lower"))
    if form == "plain":
        match = _PLAIN.match(code)
        return code if match is None else match[1] + (f".{match[2]}" if match[2] else "")
    if form == "full-width":
        return code.translate(_WIDE)
    if form == "lower":
        return code.lower()
    return code


def diagnosis_cells(
    entered: Sequence[Disease], code_form: str, separator: str, rng: random.Random
) -> tuple[str, str]:
    """The cells of the code column and of the diagnosis column."""
    codes = [written_code(rng.choice(disease.codes), code_form, rng) for disease in entered]
    names = [rng.choice(disease.names) for disease in entered]
    return separator.join(dict.fromkeys(codes)), "；".join(dict.fromkeys(names))
