"""Means of weights along the steps of a round."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emr_fl_client.training.averaging import AveragingSettings, WeightAverage

STEPS = [1.0, 2.0, 4.0, 8.0]


def averaged(settings: AveragingSettings) -> float:
    """The weight after a round whose steps leave it at 1, 2, 4 and 8; before, it was −100."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, -100.0)
    average = WeightAverage(model, settings, len(STEPS))
    for step, value in enumerate(STEPS, 1):
        nn.init.constant_(model.weight, value)
        average.take(step)
    average.put()
    return model.weight.item()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (AveragingSettings(), 8.0),
        # (1·½³ + 2·½² + 4·½ + 8) / (½³ + ½² + ½ + 1)
        (AveragingSettings("ema", decay=0.5), 10.625 / 1.875),
        (AveragingSettings("ema", decay=0.0), 8.0),
        (AveragingSettings("swa", start=0.0), 15.0 / 4.0),
        (AveragingSettings("swa", start=0.5), 6.0),
        (AveragingSettings("swa", start=0.99), 8.0),
    ],
    ids=["none", "ema", "ema-forgets-all", "swa-all", "swa-half", "swa-last"],
)
def test_by_hand(settings: AveragingSettings, expected: float) -> None:
    assert averaged(settings) == pytest.approx(expected)


def test_an_average_that_forgets_nothing_is_the_plain_mean() -> None:
    assert averaged(AveragingSettings("ema", decay=1 - 1e-9)) == pytest.approx(15.0 / 4.0, rel=1e-5)


def test_what_is_not_trained_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    model[1].weight.requires_grad_(False)
    average = WeightAverage(model, AveragingSettings("swa", start=0.0), 2)
    before = model[1].weight.clone()
    for step in (1, 2):
        nn.init.constant_(model[0].weight, float(step))
        average.take(step)
    average.put()
    assert model[0].weight.item() == 1.5
    assert torch.equal(model[1].weight, before)


@pytest.mark.parametrize("wrong", [{"kind": "mean"}, {"decay": 1.0}, {"start": 1.0}, {"decay": -0.1}])
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        AveragingSettings(**wrong)
