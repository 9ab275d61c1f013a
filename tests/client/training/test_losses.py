"""BCE and focal loss from logits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.training.losses import LossSettings, MultiLabelLoss, focal_with_logits

ONLY_BCE = LossSettings(focal=0.0)


def test_hand_made_numbers() -> None:
    # p = σ(ln 3) = 3/4.  y = 1: BCE = ln(4/3) = .287682, focal = .25·(1/4)²·.287682 = .00449503
    #                     y = 0: BCE = ln 4 = 1.386294,   focal = .75·(3/4)²·1.386294 = .58484289
    logits = torch.full((2, 1), math.log(3.0))
    targets = torch.tensor([[1.0], [0.0]])
    focal = focal_with_logits(logits, targets, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(focal, torch.tensor([[0.00449503], [0.58484289]]))
    losses = MultiLabelLoss(LossSettings(alpha=0.25)).per_record(logits, targets)
    torch.testing.assert_close(losses, torch.tensor([0.28768207 + 0.00449503, 1.38629436 + 0.58484289]))


def slow_focal(z: float, y: float, gamma: float, alpha: float) -> float:
    p = 1.0 / (1.0 + math.exp(-z))
    return -(alpha * (1 - p) ** gamma * y * math.log(p) + (1 - alpha) * p**gamma * (1 - y) * math.log(1 - p))


@given(st.floats(-15, 15), st.floats(0, 1), st.floats(0, 4), st.floats(0, 1))
def test_focal_is_the_formula(z: float, y: float, gamma: float, alpha: float) -> None:
    logits, targets = torch.tensor([z], dtype=torch.float64), torch.tensor([y], dtype=torch.float64)
    got = focal_with_logits(logits, targets, gamma=gamma, alpha=alpha)
    assert got.item() == pytest.approx(slow_focal(z, y, gamma, alpha), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("z", [100.0, -100.0, 1e4, -1e4, 88.8, 0.0])
@pytest.mark.parametrize("y", [0.0, 1.0, 0.05])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_values_and_gradients_are_finite_for_any_logit(z: float, y: float, gamma: float) -> None:
    logits = torch.tensor([[z]], requires_grad=True)
    loss = MultiLabelLoss(LossSettings(gamma=gamma))(logits, torch.tensor([[y]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    if abs(z) >= 88 and (z > 0) != (
        y > 0.5
    ):  # certain and wrong: BCE and focal both rise with slope 1 (α = ½)
        expected = abs(z) * (1 - y if z > 0 else y)
        assert loss.item() == pytest.approx(1.5 * expected, rel=1e-4)


def test_gamma_zero_and_alpha_half_is_half_of_bce() -> None:
    logits, targets = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.eye(4)[:, :3]
    focal = MultiLabelLoss(LossSettings(bce=0.0, gamma=0.0, alpha=0.5))(logits, targets)
    torch.testing.assert_close(focal, 0.5 * MultiLabelLoss(ONLY_BCE)(logits, targets))


def test_smoothing_moves_targets_towards_one_half() -> None:
    logits = torch.tensor([[0.3, -1.0]])
    smooth = MultiLabelLoss(LossSettings(focal=0.0, label_smoothing=0.1))(logits, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(smooth, MultiLabelLoss(ONLY_BCE)(logits, torch.tensor([[0.95, 0.05]])))


@pytest.mark.parametrize("reduction", ["label_sum", "label_mean"])
def test_masked_labels_have_no_loss_and_no_gradient(reduction) -> None:
    mask = torch.tensor([True, False, True])
    settings = LossSettings(reduction=reduction)
    logits = torch.tensor([[0.2, 5.0, -1.0]], requires_grad=True)
    masked = MultiLabelLoss(settings, mask)(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    masked.backward()
    assert logits.grad[0, 1] == 0.0
    assert (logits.grad[0, mask] != 0.0).all()
    without = MultiLabelLoss(settings)(logits[:, mask], torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(masked, without)


def test_the_gradient_of_a_logit_does_not_depend_on_the_number_of_labels_when_they_are_summed() -> None:
    def first_gradient(labels: int, reduction) -> float:
        logits = torch.zeros(2, labels, requires_grad=True)
        MultiLabelLoss(LossSettings(reduction=reduction))(logits, torch.zeros(2, labels)).backward()
        return float(logits.grad[0, 0])

    assert first_gradient(3, "label_sum") == pytest.approx(first_gradient(50, "label_sum"))
    assert first_gradient(3, "label_mean") == pytest.approx(first_gradient(50, "label_mean") * 50 / 3)


def test_half_precision_logits_are_computed_in_float32() -> None:
    losses = MultiLabelLoss().per_record(torch.tensor([[9.0]], dtype=torch.bfloat16), torch.tensor([[1.0]]))
    assert losses.dtype == torch.float32
    assert losses.item() > 0.0


def test_no_label_left_is_refused() -> None:
    with pytest.raises(ValueError, match="no label"):
        MultiLabelLoss(label_mask=torch.zeros(3, dtype=torch.bool))
