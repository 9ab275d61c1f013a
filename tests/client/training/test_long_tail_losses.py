"""The losses for a long tail: numbers made by hand, what they become in the limit, gradients, masks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emr_fl_client.training.losses import LabelFrequencies, LossSettings, MultiLabelLoss, known_losses
from emr_fl_client.training.losses.focal import balanced_alpha
from emr_fl_client.training.losses.registry import build_loss
from emr_fl_shared.config.settings import Loss
from emr_fl_shared.errors import SettingsError

KINDS = [
    pytest.param(LossSettings(), id="bce_focal"),
    pytest.param(LossSettings(alpha="balanced"), id="balanced-alpha"),
    pytest.param(LossSettings("asymmetric"), id="asymmetric"),
    pytest.param(
        LossSettings("asymmetric", gamma_positive=1.0, gamma_negative=0.5, margin=0.0), id="no-margin"
    ),
    pytest.param(LossSettings("distribution_balanced"), id="distribution_balanced"),
    pytest.param(LossSettings("logit_adjusted"), id="logit_adjusted"),
    pytest.param(LossSettings("asymmetric", label_smoothing=0.1), id="smoothed"),
]
LINEAR = [
    case for case in KINDS if case.id != "distribution_balanced"
]  # its weights depend on the labels, too


def frequencies(counts: list[float], records: int) -> LabelFrequencies:
    known = torch.tensor(counts, dtype=torch.float64)
    return LabelFrequencies(records, known, known / records)


FOUR = frequencies([60.0, 25.0, 4.0, 1.0], 100)


def data(rows: int = 6, seed: int = 0, labels: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3.0 * torch.randn(rows, labels, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(rows, labels, generator=generator) < 0.4).double()


def elementwise(settings: LossSettings, known: LabelFrequencies, z: Tensor, y: Tensor) -> Tensor:
    return build_loss(settings, known)(z, y, y)


def test_asymmetric_by_hand() -> None:
    # p = σ(ln 3) = 3/4.  y = 1: (1/4)¹·ln(4/3) = .07192052
    # y = 0: p_m = .70, .70²·(−ln .30) = .49·1.20397280 = .58994667;  p = .01 < m: nothing
    settings = LossSettings("asymmetric", gamma_positive=1.0, gamma_negative=2.0, margin=0.05)
    z = torch.tensor([[math.log(3.0)], [math.log(3.0)], [-math.log(99.0)]], dtype=torch.float64)
    y = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.07192052], [0.58994667], [0.0]], dtype=torch.float64)
    torch.testing.assert_close(elementwise(settings, FOUR, z, y), expected)


def test_distribution_balanced_by_hand() -> None:
    # n = (8, 2) of 10, κ = 1/2: ν = ½ ln(1/.8 − 1), ½ ln(1/.2 − 1) = ∓ln 2.  z = ν, so that z − ν = 0
    # y = (1, 1): Σ y/n = .625, r = (.2, .8), r̂ = .1 + σ(0), .1 + σ(6) = .6, 1.09752738; loss r̂·ln 2
    # y = (1, 0): Σ y/n = .125, r = (1, 4),   r̂ = .1 + σ(8), .1 + σ(38) = 1.09966465, 1.1; loss r̂·ln 2 and r̂·(ln 2)/λ
    settings = LossSettings("distribution_balanced", bias_scale=0.5, negative_scale=2.0)
    z = torch.tensor([[-math.log(2.0), math.log(2.0)]], dtype=torch.float64).repeat(2, 1)
    y = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    expected = math.log(2.0) * torch.tensor([[0.6, 1.09752738], [1.09966465, 1.1 / 2.0]], dtype=torch.float64)
    torch.testing.assert_close(elementwise(settings, frequencies([8.0, 2.0], 10), z, y), expected)


@pytest.mark.parametrize(
    ("tau", "z", "expected"),
    [
        (1.0, math.log(9.0), (0.69314718, 0.69314718)),  # π = .1: log-odds −ln 9, so σ(0)
        (0.5, 0.0, (1.38629436, 0.28768207)),  # −ln 3: σ = 1/4
        (0.0, 0.0, (0.69314718, 0.69314718)),
    ],
)
def test_logit_adjustment_by_hand(tau: float, z: float, expected: tuple[float, float]) -> None:
    logits, y = torch.full((2, 1), z, dtype=torch.float64), torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    got = elementwise(LossSettings("logit_adjusted", tau=tau), frequencies([10.0], 100), logits, y)
    torch.testing.assert_close(got[:, 0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("exponent", "expected"), [(1.0, [0.9, 0.5]), (0.5, [0.75, 0.5]), (0.0, [0.5, 0.5])])
def test_alpha_a_label_by_hand(exponent: float, expected: list[float]) -> None:
    # π = .1: odds of α are 9^e; π = ½: always 1
    got = balanced_alpha(torch.tensor([0.1, 0.5], dtype=torch.float64), exponent)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_alpha_a_label_weighs_each_label_with_its_own() -> None:
    z, y = data()
    known = frequencies([10.0, 50.0, 2.0, 90.0], 100)
    got = elementwise(LossSettings(bce=0.0, alpha="balanced", alpha_exponent=1.0), known, z, y)
    for label, prior in enumerate([0.1, 0.5, 0.02, 0.9]):
        single = elementwise(LossSettings(bce=0.0, alpha=1.0 - prior), known, z, y)
        torch.testing.assert_close(got[:, label], single[:, label])


def test_frequencies_by_hand() -> None:
    y = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0]], dtype=np.bool_)
    known = LabelFrequencies.of(y)
    assert (known.records, known.counts.tolist()) == (3, [3.0, 1.0, 1.0])
    np.testing.assert_allclose(known.prior.numpy(), np.array([3.5, 0.5, 1.5]) / 4.0)
    drawn = LabelFrequencies.of(y, np.array([0.5, 0.25, 0.25]))  # the first record is drawn half of the time
    np.testing.assert_allclose(drawn.prior.numpy(), np.array([3.5, 0.5, 2.0]) / 4.0)
    assert drawn.of_labels(torch.tensor([True, False, True])).counts.tolist() == [3.0, 1.0]


BCE = LossSettings(focal=0.0)


@pytest.mark.parametrize(
    "settings",
    [
        LossSettings("asymmetric", gamma_positive=0.0, gamma_negative=0.0, margin=0.0),
        LossSettings("logit_adjusted", tau=0.0),
        LossSettings(
            "distribution_balanced", weight_floor=0.5, weight_slope=0.0, bias_scale=0.0, negative_scale=1.0
        ),
        LossSettings(bce=0.0, focal=2.0, gamma=0.0, alpha="balanced", alpha_exponent=0.0),
    ],
    ids=["asymmetric", "logit_adjusted", "distribution_balanced", "balanced-alpha"],
)
def test_switched_off_each_is_bce(settings: LossSettings) -> None:
    z, y = data(seed=1)
    torch.testing.assert_close(
        elementwise(settings, FOUR, z, y), elementwise(BCE, FOUR, z, y), rtol=1e-12, atol=1e-12
    )


def test_equal_focusing_without_margin_is_twice_the_focal_loss() -> None:
    z, y = data(seed=2)
    asymmetric = LossSettings("asymmetric", gamma_positive=2.0, gamma_negative=2.0, margin=0.0)
    torch.testing.assert_close(
        elementwise(asymmetric, FOUR, z, y),
        2.0 * elementwise(LossSettings(bce=0.0), FOUR, z, y),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("settings", KINDS)
def test_gradients_are_those_of_the_values(settings: LossSettings) -> None:
    z, y = data(seed=3)
    z.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda logits: elementwise(settings, FOUR, logits, y), (z,))
    soft = 0.7 * y + 0.3 * y.flip(0)
    assert torch.autograd.gradcheck(lambda logits: elementwise(settings, FOUR, logits, soft), (z,))


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("z", [0.0, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4, math.log(0.05 / 0.95)])
@pytest.mark.parametrize("y", [0.0, 1.0, 0.3])
def test_values_and_gradients_are_finite_for_any_logit(settings: LossSettings, z: float, y: float) -> None:
    logits = torch.full((2, 4), z, requires_grad=True)
    loss = MultiLabelLoss(settings, frequencies=FOUR)(logits, torch.full((2, 4), y))
    loss.backward()
    assert torch.isfinite(loss) and loss.item() >= 0.0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("reduction", ["label_sum", "label_mean"])
def test_masked_labels_have_no_loss_and_no_gradient(settings: LossSettings, reduction) -> None:
    settings, mask = replace(settings, reduction=reduction), torch.tensor([True, False, True, True])
    z, y = data(seed=4)
    z, y = z.float().requires_grad_(True), y.float()
    y[:, 1] = 0.0  # a site without the label
    masked = MultiLabelLoss(settings, mask, FOUR).per_record(z, y)
    masked.sum().backward()
    assert (z.grad[:, 1] == 0.0).all()
    assert (z.grad[:, mask].abs().sum(dim=0) > 0.0).all()
    without = MultiLabelLoss(settings, None, FOUR.of_labels(mask)).per_record(z[:, mask], y[:, mask])
    torch.testing.assert_close(masked, without, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("settings", KINDS)
def test_the_order_of_labels_and_records_does_not_matter(settings: LossSettings) -> None:
    z, y = data(seed=5)
    order, rows = torch.tensor([2, 0, 3, 1]), torch.tensor([5, 1, 0, 3, 2, 4])
    moved = frequencies(FOUR.counts[order].tolist(), 100)
    expected = elementwise(settings, FOUR, z, y)[rows][:, order]
    got = elementwise(settings, moved, z[rows][:, order], y[rows][:, order])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", LINEAR)
@given(st.floats(0.0, 1.0), st.integers(0, 5))
def test_the_loss_of_a_mixed_target_is_the_mixture_of_both_losses(
    settings: LossSettings, share: float, seed: int
) -> None:
    z, y = data(seed=seed)
    other = y.flip(0)
    got = elementwise(settings, FOUR, z, share * y + (1.0 - share) * other)
    expected = share * elementwise(settings, FOUR, z, y) + (1.0 - share) * elementwise(
        settings, FOUR, z, other
    )
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_smoothing_does_not_tell_the_weights_that_a_record_has_every_label() -> None:
    z, y = data(seed=6)
    settings = LossSettings("distribution_balanced", bias_scale=0.0, negative_scale=1.0)
    weights = build_loss(settings, FOUR).weights(y.float())
    smoothed = MultiLabelLoss(replace(settings, label_smoothing=0.2), frequencies=FOUR)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(z, 0.8 * y + 0.1, reduction="none")
    torch.testing.assert_close(smoothed.per_record(z, y), (weights * bce).sum(dim=1).float())


def test_a_record_without_labels_has_the_largest_weight_and_no_nan() -> None:
    none = torch.zeros(1, 4)
    weights = build_loss(LossSettings("distribution_balanced"), FOUR).weights(none)
    torch.testing.assert_close(weights, torch.full((1, 4), 1.1, dtype=torch.float64))


@pytest.mark.parametrize("settings", [p for p in KINDS if p.id in ("balanced-alpha", "logit_adjusted")])
def test_frequencies_that_are_needed_are_asked_for(settings: LossSettings) -> None:
    with pytest.raises(ValueError, match="needs the frequencies"):
        MultiLabelLoss(settings)


def test_an_unknown_loss_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"training\.loss\.kind.*bce_focal \| asymmetric"):
        MultiLabelLoss(LossSettings("asl"))


def test_settings_know_the_same_losses_and_the_same_defaults() -> None:
    assert set(Loss.model_fields["kind"].annotation.__args__) == set(known_losses())
    assert LossSettings(**Loss().model_dump()) == LossSettings()
