"""Which steps are adversarial, and with how many passes."""

from __future__ import annotations

import pytest
import torch

from emr_fl_client.adversarial import AdversarialSchedule, AdversarialSettings, ConsistencySettings
from small_encoders import LOSS, batch, context, tiny


def schedule(**changes) -> AdversarialSchedule:
    consistency = changes.pop("consistency", None)
    return AdversarialSchedule(AdversarialSettings(**{"method": "freelb", **changes}), consistency)


def plan(of: AdversarialSchedule, steps: int) -> list[int]:
    """K of each of `steps` steps that are the whole training; 0: plain."""
    found = []
    for step in range(steps):
        method = of.at(step, step / steps)
        found.append(0 if method.name == "none" else method.settings.steps)
    return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": 2}, [2, 2, 2, 2, 2, 2, 2, 2]),
        ({"steps": 3, "every": 3}, [3, 0, 0, 3, 0, 0, 3, 0]),
        ({"phases": (0, 2)}, [0, 0, 0, 0, 2, 2, 2, 2]),
        ({"phases": (1, 2, 3)}, [1, 1, 1, 2, 2, 2, 3, 3]),
        ({"phases": (0, 3), "every": 2}, [0, 0, 0, 0, 3, 0, 3, 0]),
        ({"method": "none"}, [0] * 8),
    ],
    ids=str,
)
def test_the_plan(changes, expected: list[int]) -> None:
    assert plan(schedule(**changes), 8) == expected


def test_the_step_size_follows_the_phases_k() -> None:
    of = schedule(phases=(1, 4), radius=0.08)
    assert of.at(0, 0.0).settings.ascent == pytest.approx(0.08)
    assert of.at(9, 0.9).settings.ascent == pytest.approx(0.02)
    assert of.at(9, 1.0).settings.steps == 4  # never past the last phase


def test_the_teacher_goes_on_from_phase_to_phase() -> None:
    of = schedule(method="smart", phases=(1, 2), radius=0.1)
    model, data = tiny(dropout=0.0), batch()
    first = of.at(0, 0.0)
    first.backward(model, data, LOSS, context())
    with torch.no_grad():
        model.classifier.weight.add_(0.5)
    second = of.at(5, 0.9)
    assert second.settings.steps == 2
    teacher = first._teacher
    assert second._teacher is teacher
    model.zero_grad(set_to_none=True)
    second.backward(model, data, LOSS, context())
    kept = teacher._weights["classifier.weight"]
    assert 0.4 < (model.classifier.weight - kept).mean().item() < 0.5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"method": "none"}, True),
        ({"top_loss": 0.5}, False),
        ({"method": "smart", "top_loss": 0.9}, False),
        ({"every": 4, "phases": (0, 1)}, True),
    ],
    ids=str,
)
def test_it_says_whether_records_are_independent(changes, expected: bool) -> None:
    assert schedule(**changes).per_record is expected


def test_consistency_stands_beside_every_step() -> None:
    of = schedule(every=2, consistency=ConsistencySettings(weight=1.0))
    assert [type(of.at(step, 0.0)).__name__ for step in range(2)] == ["NoiseConsistency"] * 2
    assert [of.at(step, 0.0).name for step in range(2)] == ["freelb", "none"]
