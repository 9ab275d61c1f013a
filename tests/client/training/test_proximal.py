"""FedProx: μ (w − w^t) on top of the gradient, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from emr_fl_client.training.loop import train_round
from emr_fl_client.training.proximal import Proximal
from training_site import FREELB, SETTINGS, encoder, same, site, weights


def test_gradient_by_hand() -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    term = Proximal(model, 0.5)
    with torch.no_grad():
        model.weight.add_(torch.tensor([[4.0, -2.0]]))
    model.weight.grad = torch.tensor([[1.0, 1.0]])
    term.adjust()
    torch.testing.assert_close(model.weight.grad, torch.tensor([[1 + 0.5 * 4, 1 - 0.5 * 2]]))


def test_a_parameter_without_a_gradient_gets_none() -> None:
    model = nn.Linear(2, 1)
    Proximal(model, 1.0).adjust()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("mu", [0.0, 0.3, 2.0])
def test_gradient_descent_agrees_with_the_closed_form(mu: float) -> None:
    """F(w) = ½ (w − a)² from w^t = b: the minimum of F + μ/2 (w − b)² is (a + μ b) / (1 + μ)."""
    model = nn.Linear(1, 1, bias=False)
    target, begin = 3.0, -1.0
    with torch.no_grad():
        model.weight.fill_(begin)
    term = Proximal(model, mu)
    reference = begin
    for _ in range(40):
        model.weight.grad = model.weight.detach() - target
        term.adjust()
        with torch.no_grad():
            model.weight -= 0.25 * model.weight.grad
        reference -= 0.25 * ((reference - target) + mu * (reference - begin))
        assert model.weight.item() == pytest.approx(reference, abs=1e-5)
    assert model.weight.item() == pytest.approx((target + mu * begin) / (1 + mu), abs=1e-3)


@pytest.mark.parametrize("settings", [SETTINGS, FREELB], ids=["plain", "freelb"])
def test_zero_mu_is_fedavg_to_the_bit_and_more_mu_stays_nearer(settings: object) -> None:
    texts, y = site(64)
    y[:, 2] = False
    start = weights(encoder())
    ends, distances = [], []
    for mu in (None, 0.0, 1.0, 10.0):
        trained = encoder()
        terms = [] if mu is None else [Proximal(trained.model, mu)]
        train_round(trained, texts, y, settings, label_mask=y.any(axis=0), terms=terms)  # type: ignore[arg-type]
        ends.append(weights(trained))
        distances.append(
            float(np.sqrt(sum(float(((ends[-1][name] - start[name]) ** 2).sum()) for name in start)))
        )
        assert torch.equal(ends[-1]["classifier.weight"][2], start["classifier.weight"][2])
    assert same(ends[0], ends[1])
    assert distances[1] > distances[2] > distances[3] > 0
