"""The decision rule comes from the validation set and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from emr_fl_server.evaluation.evaluator import Evaluator
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.metrics import Decision, label_thresholds
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.model.tiny import TinyShape

LABELS = ["咳嗽", "腹痛", "头晕"]


def notes(name: str, seed: int, n: int = 40) -> HeldOutSet:
    draw = np.random.default_rng(seed)
    y = draw.random((n, 3)) < (0.6, 0.3, 0.15)
    texts = ["，".join([*(LABELS[k] for k in np.flatnonzero(row)), "两天"]) for row in y]
    return HeldOutSet(name, texts, y, [str(number) for number in range(n)])


def evaluator(standard: HeldOutSet, **settings: float) -> Evaluator:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
    encoder = build_model("tiny", LABELS, max_length=32, seed=0, shape=shape)
    return Evaluator(encoder, notes("validation", 1), {"standard": standard}, **settings)


def decision(made: Evaluator) -> Decision:
    return made.score(tensors_of(made.encoder.model), single_label=False).decision


def test_thresholds_a_label_are_fitted_on_validation_whatever_the_other_sets_hold() -> None:
    made = evaluator(notes("standard", 2), threshold_shrinkage=5.0)
    fitted = decision(made)
    assert fitted == decision(evaluator(notes("standard", 3, n=10), threshold_shrinkage=5.0))
    p = fitted.probabilities(made.logits(made.validation))
    assert fitted.thresholds == label_thresholds(made.validation.y, p, fitted.threshold, shrinkage=5.0)
    assert len(set(fitted.thresholds)) > 1


@pytest.mark.parametrize(
    ("settings", "threshold"), [({}, None), ({"threshold": 0.25}, 0.25)], ids=["fitted", "fixed"]
)
def test_otherwise_one_threshold_is_for_all(settings: dict[str, float], threshold: float | None) -> None:
    found = decision(evaluator(notes("standard", 2), **settings))
    assert found.thresholds == ()
    assert threshold is None or found.threshold == threshold
