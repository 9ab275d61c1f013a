"""No operator breaks a fact, checked without the guard (`marked_notes`)."""

from __future__ import annotations

import random
import re

import pytest

from emr_fl_client.augment.fields import parts
from emr_fl_client.augment.policy import RuleAugmenter
from emr_fl_client.augment.registry import operators
from marked_notes import NOTES, SENTENCES, problems


def test_the_checker_sees_broken_notes() -> None:
    made = NOTES[0]
    text = made.text
    assert problems(made, text, parts_left_out=0) == []
    denied = made.denied[1][0][1]
    for broken in (
        text.replace("无", "", 1),
        text.replace(denied[1] + "、", "", 1),
        text.replace(f"{denied[0]}、{denied[1]}", f"{denied[0]}，{denied[1]}", 1),
        text.replace("0.3g", "0.5g"),
        text.replace("待查", ""),
        text.replace("父亲", "母亲"),
        re.sub("[左右双]", "", text),
        text.replace("[HOSPITAL]", ""),
    ):
        assert broken != text
        assert problems(made, broken, parts_left_out=1)


@pytest.mark.parametrize("name", list(operators()))
def test_operator_keeps_every_marked_fact(name: str) -> None:
    operator = operators()[name]
    changed = 0
    for seed, made in enumerate(NOTES):
        output = operator.apply(made.text, random.Random(seed))
        changed += output != made.text
        assert (
            problems(made, output, parts_left_out=name == "fields", placeholder=name != "placeholders") == []
        ), f"note {seed}"
    assert changed > SENTENCES // 2


def test_policy_keeps_every_marked_fact_and_changes_almost_every_note() -> None:
    augmenter = RuleAugmenter()
    for seed, made in enumerate(NOTES):
        output = augmenter.augment(made.text, random.Random(seed))
        left_out = len(made.parts) - len(parts(output))
        assert left_out in (-1, 0, 1, 2, 3)
        assert problems(made, output, parts_left_out=1, placeholder=False) == [], f"note {seed}"
    assert augmenter.changed > 0.9 * SENTENCES
