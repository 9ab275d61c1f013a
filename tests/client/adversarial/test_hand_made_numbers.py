"""FGSM, PGD, VAT and SMART on logit = w·(e + δ), e = 1, w = 2, y = 0: every number can be written down.

L = softplus(z), z = w·(e + δ): dL/dw = σ(z)·(1 + δ), dL/de = dL/dδ = 2·σ(z) > 0, so the loss rises with δ.
"""

from __future__ import annotations

from math import exp, log1p

import pytest
import torch

from emr_fl_client.adversarial import AdversarialSettings, build_method, pgd, smart, vat
from emr_fl_client.dataset.batch import Batch
from small_encoders import BCE, TwoParameters, context

ONE = torch.ones(1, 1, dtype=torch.long)
NOTE = Batch(torch.zeros_like(ONE), ONE, torch.zeros(1, 1))


def s(z: float) -> float:
    """σ(z)."""
    return 1.0 / (1.0 + exp(-z))


def d(z: float) -> float:
    """σ′(z)."""
    return s(z) * (1.0 - s(z))


def method_of(name: str, **changes):
    values = {"steps": 1, "radius": 0.5, "relative": False, **changes}
    return build_method(AdversarialSettings(method=name, **values))


def check(model: TwoParameters, method, w: float, e: float) -> None:
    first = method.backward(model, NOTE, BCE, context())
    assert model.w.grad.item() == pytest.approx(w, abs=1e-6)
    assert model.embedding.weight.grad.item() == pytest.approx(e, abs=1e-6)
    assert first.item() == pytest.approx(log1p(exp(2.0)), abs=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("relative", [True, False])
def test_fgsm(norm: str, relative: bool) -> None:
    # δ = ε = .5 (‖X‖ = 1), z = 3; half of each loss
    method = method_of("fgsm", weight=0.5, norm=norm, relative=relative)
    check(TwoParameters(1.0, 2.0), method, 0.5 * s(2) + 0.5 * 1.5 * s(3), 0.5 * 2 * s(2) + 0.5 * 2 * s(3))


def test_fgsm_with_nothing_but_the_adversarial_loss() -> None:
    check(TwoParameters(1.0, 2.0), method_of("fgsm"), 1.5 * s(3), 2 * s(3))


@pytest.mark.parametrize(
    ("changes", "delta"),
    [
        ({"steps": 2, "step_size": 0.2}, 0.4),
        ({"steps": 3, "step_size": 0.2}, 0.5),  # .6, projected
        ({"steps": 1, "step_size": 3.0}, 0.5),
        ({"steps": 2, "step_size": 0.2, "norm": "linf"}, 0.4),
        ({"steps": 4}, 0.5),  # four steps of ε/4
    ],
    ids=["K=2", "projected", "K=1", "linf", "K=4"],
)
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_pgd(changes, delta: float, weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgd, "initial_perturbation", lambda still, *_: torch.zeros_like(still))
    z = 2 * (1 + delta)
    w, e = weight * (1 + delta) * s(z), weight * 2 * s(z)
    model = TwoParameters(1.0, 2.0)
    check(
        model,
        method_of("pgd", weight=weight, **changes),
        w + (1 - weight) * s(2),
        e + (1 - weight) * 2 * s(2),
    )


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize(("steps", "norm"), [(1, "l2"), (3, "l2"), (1, "linf")])
def test_vat(direction: float, steps: int, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In one dimension the power iteration keeps the sign that was drawn. p = σ(2) is a constant, so dKL/dz = q − p.
    monkeypatch.setattr(vat, "gaussian", lambda still, *_: torch.full_like(still, direction))
    z = 2 * (1 + direction * 0.5)
    change = s(z) - s(2)
    method = method_of("vat", steps=steps, norm=norm, regularisation=3.0)
    check(
        TwoParameters(1.0, 2.0),
        method,
        s(2) + 3 * change * (1 + direction * 0.5),
        2 * s(2) + 3 * change * 2,
    )


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_smart_is_smooth(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # δ = .01 at first, then .01 + η = .5 after projection. ℓ = (p − q)(a − b), p = σ(a), q = σ(b), a = 2, b = 3:
    # dℓ/da = σ′(a)(a − b) + p − q,  dℓ/db = −σ′(b)(a − b) − (p − q); both sides get a gradient. The teacher is the model.
    monkeypatch.setattr(smart, "gaussian", lambda still, *_: torch.ones_like(still))
    by_a, by_b = -d(2) + s(2) - s(3), d(3) - (s(2) - s(3))
    method = method_of("smart", norm=norm, step_size=0.6, regularisation=3.0)
    check(TwoParameters(1.0, 2.0), method, s(2) + 3 * (by_a + 1.5 * by_b), 2 * s(2) + 3 * 2 * (by_a + by_b))


def test_smart_holds_to_the_teacher() -> None:
    # The second step is at w = 3, the teacher at .9·2 + .1·3 = 2.1: a = 3, b = 2.1, and only a gets a gradient.
    model = TwoParameters(1.0, 2.0)
    method = method_of("smart", regularisation=0.0, bregman=5.0, momentum=0.9)
    method.backward(model, NOTE, BCE, context())
    assert model.w.grad.item() == pytest.approx(s(2), abs=1e-6)  # nothing yet
    model.zero_grad()
    model.w.data.fill_(3.0)
    method.backward(model, NOTE, BCE, context())
    by_a = s(3) + 5 * (d(3) * 0.9 + s(3) - s(2.1))
    assert model.w.grad.item() == pytest.approx(by_a, abs=1e-6)
    assert model.embedding.weight.grad.item() == pytest.approx(3 * by_a, abs=1e-6)
