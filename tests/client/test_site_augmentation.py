"""Which operators a site draws from, by what it has."""

from __future__ import annotations

import random

from emr_fl_client.site import _augmenter
from emr_fl_shared.config.settings import OPERATORS, Rewriting, Training

OWN = Rewriting(forward="zh-en", backward="en-zh")


def names(rewriting: Rewriting, **augmentation: object) -> set[str]:
    made = _augmenter(Training.model_validate({"augmentation": augmentation}), rewriting)
    if made is None:
        return set()
    return {operator.name for seed in range(300) for operator in made._draw(random.Random(seed))}


def test_without_folders_back_translation_is_the_pivot() -> None:
    none = dict.fromkeys(OPERATORS, 0.0)
    assert names(Rewriting(), **none, back_translation=0.5) == {"pivot"}
    assert names(OWN, **none, back_translation=0.5) == set()
    assert names(OWN, **{**none, "eda": 1.0}, back_translation=0.5) == {"eda"}
    assert "pivot" not in names(Rewriting())
    assert "pivot" in names(Rewriting(), back_translation=1.0)


def test_what_the_rules_weigh_beside_models() -> None:
    def weight(rewriting: Rewriting, **augmentation: object) -> float:
        made = _augmenter(Training.model_validate({"augmentation": augmentation}), rewriting)
        return made.weight if made else 0.0

    assert round(weight(Rewriting()), 9) == 1.0
    assert round(weight(Rewriting(), back_translation=0.5), 9) == 1.5
    assert round(weight(OWN, back_translation=0.5, mlm=0.5), 9) == 1.0
    assert weight(OWN, enabled=False) == 0.0
