"""The losses for a long tail against slow oracles in float64: the papers' formulas, one number at a time, with `math` only."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.training.losses import LabelFrequencies, LossSettings, MultiLabelLoss
from emr_fl_client.training.losses.registry import build_loss

COUNTS, RECORDS = [70.0, 20.0, 5.0], 100
KNOWN = LabelFrequencies(
    RECORDS,
    torch.tensor(COUNTS, dtype=torch.float64),
    torch.tensor(COUNTS, dtype=torch.float64) / RECORDS,
)


def sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


def asymmetric(z: list[float], y: list[float], k: int) -> float:
    """Ridnik et al., eq. 4–7, γ₊ = 1, γ₋ = 4, m = .05."""
    p = sigmoid(z[k])
    shifted = max(p - 0.05, 0.0)
    return -(y[k] * (1 - p) * math.log(p) + (1 - y[k]) * shifted**4 * math.log(1 - shifted))


def distribution_balanced(z: list[float], y: list[float], k: int) -> float:
    """Wu et al., α = .1, β = 10, μ = .2, λ = 2, κ = .05."""
    drawn = sum(label / count for label, count in zip(y, COUNTS, strict=True))
    weight = 1.1 if drawn == 0 else 0.1 + sigmoid(10 * ((1 / COUNTS[k]) / drawn - 0.2))
    nu = 0.05 * math.log(1 / (COUNTS[k] / RECORDS) - 1)
    positive = math.log(1 + math.exp(-(z[k] - nu)))
    negative = math.log(1 + math.exp(2 * (z[k] - nu))) / 2
    return weight * (y[k] * positive + (1 - y[k]) * negative)


def logit_adjusted(z: list[float], y: list[float], k: int) -> float:
    """Menon et al. as a softmax over {no, yes} with their priors, τ = 1.5."""
    prior = COUNTS[k] / RECORDS
    yes, no = math.exp(z[k]) * prior**1.5, (1 - prior) ** 1.5
    return -(y[k] * math.log(yes / (yes + no)) + (1 - y[k]) * math.log(no / (yes + no)))


def focal_by_label(z: list[float], y: list[float], k: int) -> float:
    """Lin et al., γ = 2, α_k = 1 − π_k."""
    p, alpha = sigmoid(z[k]), 1 - COUNTS[k] / RECORDS
    return -(alpha * (1 - p) ** 2 * y[k] * math.log(p) + (1 - alpha) * p**2 * (1 - y[k]) * math.log(1 - p))


CASES: dict[str, tuple[LossSettings, Callable[[list[float], list[float], int], float]]] = {
    "asymmetric": (LossSettings("asymmetric", gamma_positive=1.0), asymmetric),
    "distribution_balanced": (LossSettings("distribution_balanced"), distribution_balanced),
    "logit_adjusted": (LossSettings("logit_adjusted", tau=1.5), logit_adjusted),
    "focal_by_label": (LossSettings(bce=0.0, alpha="balanced", alpha_exponent=1.0), focal_by_label),
}
LOGITS = st.lists(st.floats(-12, 12), min_size=3, max_size=3)
LABELS = st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.001, 1)), min_size=3, max_size=3)


@pytest.mark.parametrize("name", CASES)
@given(LOGITS, LABELS)
def test_each_label_of_a_record_is_the_papers_formula(name: str, z: list[float], y: list[float]) -> None:
    settings, oracle = CASES[name]
    targets = torch.tensor([y], dtype=torch.float64)
    got = build_loss(settings, KNOWN)(torch.tensor([z], dtype=torch.float64), targets, targets)
    assert got[0].tolist() == pytest.approx([oracle(z, y, k) for k in range(3)], rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_is_its_records_added_up_over_the_labels_that_the_site_has(name: str) -> None:
    settings, oracle = CASES[name]
    generator = torch.Generator().manual_seed(0)
    z = 3.0 * torch.randn(5, 3, generator=generator)
    y = (torch.rand(5, 3, generator=generator) < 0.5).float()
    losses = MultiLabelLoss(settings, frequencies=KNOWN).per_record(z, y)
    expected = [sum(oracle(z[n].tolist(), y[n].tolist(), k) for k in range(3)) for n in range(5)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)
