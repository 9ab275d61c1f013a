"""Divergences of Bernoulli distributions, computed from logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, kl_divergence

from emr_fl_client.adversarial.divergence import bernoulli_kl, symmetric_kl

logits = st.floats(-12.0, 12.0)


@given(logits, logits)
def test_the_divergences_are_those_of_the_distributions(p: float, q: float) -> None:
    left, right = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    forth = kl_divergence(Bernoulli(logits=left), Bernoulli(logits=right))
    back = kl_divergence(Bernoulli(logits=right), Bernoulli(logits=left))
    assert bernoulli_kl(left, right).item() == pytest.approx(forth.item(), rel=1e-3, abs=1e-5)
    assert symmetric_kl(left, right).item() == pytest.approx((forth + back).item(), rel=1e-3, abs=1e-5)


def test_numbers_made_by_hand() -> None:
    # p = 3/4, q = 1/4: KL = 3/4·ln 3 − 1/4·ln 3 = ln 3 / 2, the same both ways
    p, q = torch.tensor(math.log(3.0)), torch.tensor(-math.log(3.0))
    assert bernoulli_kl(p, q).item() == pytest.approx(math.log(3.0) / 2)
    assert symmetric_kl(p, q).item() == pytest.approx(math.log(3.0))


@pytest.mark.parametrize("divergence", [bernoulli_kl, symmetric_kl])
@pytest.mark.parametrize("value", [0.0, 3.7, -100.0, 1e4])
def test_equal_logits_give_exactly_nothing(divergence, value: float) -> None:
    p = torch.full((3,), value, requires_grad=True)
    q = torch.full((3,), value, requires_grad=True)
    result = divergence(p, q)
    result.sum().backward()
    assert (result == 0).all()
    assert (q.grad == 0).all()
    if divergence is symmetric_kl:
        assert (p.grad == 0).all()


def sigma(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z))


@given(logits, logits)
def test_gradients_are_the_derivatives(p: float, q: float) -> None:
    left, right = torch.tensor(p, requires_grad=True), torch.tensor(q, requires_grad=True)
    bernoulli_kl(left, right).backward()
    assert left.grad is None
    assert right.grad.item() == pytest.approx(sigma(q) - sigma(p), abs=1e-6)
    right.grad = None
    symmetric_kl(left, right).backward()
    rise = sigma(p) - sigma(q)
    assert left.grad.item() == pytest.approx(sigma(p) * sigma(-p) * (p - q) + rise, abs=1e-5)
    assert right.grad.item() == pytest.approx(-sigma(q) * sigma(-q) * (p - q) - rise, abs=1e-5)


@pytest.mark.parametrize("divergence", [bernoulli_kl, symmetric_kl])
def test_extreme_logits_stay_finite(divergence) -> None:
    p = torch.tensor([-1e4, 1e4, 0.0], requires_grad=True)
    q = torch.tensor([1e4, -1e4, 1e4], requires_grad=True)
    result = divergence(p, q)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert (result > 1e3).all()
    assert torch.isfinite(q.grad).all()
    assert p.grad is None or torch.isfinite(p.grad).all()
