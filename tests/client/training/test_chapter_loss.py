"""Coarse to fine: the loss on chapters through the probabilities of their categories."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.training.losses import LossSettings, MultiLabelLoss
from emr_fl_client.training.losses.chapters import ChapterLoss

CHAPTERS = [
    "IX",
    "X",
    "IX",
    "",
    "X",
    "II",
]  # in order of names: IX has 0 and 2, X has 1 and 4; II has one label
LOGITS = st.lists(st.floats(-10, 10), min_size=6, max_size=6)
LABELS = st.lists(st.floats(0, 1), min_size=6, max_size=6)


def test_by_hand() -> None:
    # IX: p = ½, ½, so p_c = ¾; X: p = ¾, ¾, so p_c = 15/16. The record has label 2 (IX).
    z = torch.tensor([[0.0, math.log(3.0), 0.0, 9.0, math.log(3.0), 9.0]], dtype=torch.float64)
    y = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[-math.log(3 / 4), -math.log(1 / 16)]], dtype=torch.float64)
    torch.testing.assert_close(ChapterLoss(CHAPTERS)(z, y), expected)


def oracle(z: list[float], y: list[float], members: list[int], smoothing: float) -> float:
    nobody = math.prod(1.0 - 1.0 / (1.0 + math.exp(-z[k])) for k in members)
    target = (1.0 - smoothing) * max(y[k] for k in members) + 0.5 * smoothing
    return -(target * math.log(1.0 - nobody) + (1.0 - target) * math.log(nobody))


@given(LOGITS, LABELS, st.sampled_from([0.0, 0.1]))
def test_it_is_the_formula(z: list[float], y: list[float], smoothing: float) -> None:
    got = ChapterLoss(CHAPTERS)(
        torch.tensor([z], dtype=torch.float64), torch.tensor([y], dtype=torch.float64), smoothing
    )
    expected = [oracle(z, y, members, smoothing) for members in ([0, 2], [1, 4])]
    assert got[0].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("z", [0.0, 100.0, -100.0, 1e4, -1e4, -50.0])
@pytest.mark.parametrize("y", [0.0, 1.0, 0.3])
def test_values_and_gradients_are_finite_for_any_logit(z: float, y: float) -> None:
    logits = torch.full((2, 6), z, requires_grad=True)
    losses = ChapterLoss(CHAPTERS)(logits, torch.full((2, 6), y))
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    if z <= -50.0 and y == 1.0:  # −log p_c → −(z + ln 2), whose gradient is shared by both categories
        assert losses[0, 0].item() == pytest.approx(-z - math.log(2.0), rel=1e-4)
        assert logits.grad[0, 0].item() == pytest.approx(-0.5, rel=1e-3)


def test_gradients_are_those_of_the_values() -> None:
    generator = torch.Generator().manual_seed(0)
    z = (3.0 * torch.randn(4, 6, generator=generator, dtype=torch.float64)).requires_grad_(True)
    y = (torch.rand(4, 6, generator=generator) < 0.4).double()
    assert torch.autograd.gradcheck(lambda logits: ChapterLoss(CHAPTERS)(logits, y, 0.1), (z,))


def test_it_is_added_with_its_weight_and_does_not_see_masked_labels() -> None:
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    y = torch.eye(6)[:3]
    mask = torch.tensor(
        [True, True, False, True, True, True]
    )  # IX is left with one label: no chapter of its own
    plain = MultiLabelLoss(LossSettings(), mask).per_record(z, y)
    coarse = MultiLabelLoss(LossSettings(coarse=0.5), mask, chapters=CHAPTERS).per_record(z, y)
    alone = ChapterLoss(["X", "X"])(z[:, [1, 4]], y[:, [1, 4]])[:, 0]
    torch.testing.assert_close(coarse, plain + 0.5 * alone)
    coarse.sum().backward()
    assert (z.grad[:, 2] == 0.0).all()


def test_the_wrong_category_of_the_right_chapter_costs_less_than_one_of_another() -> None:
    y = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    near, far = torch.full((1, 6), -4.0), torch.full((1, 6), -4.0)
    near[0, 2], far[0, 1] = 4.0, 4.0
    fine = MultiLabelLoss()
    both = MultiLabelLoss(LossSettings(coarse=1.0), chapters=CHAPTERS)
    assert fine(near, y) == pytest.approx(fine(far, y).item())
    assert both(near, y) < both(far, y)


@pytest.mark.parametrize("chapters", [[""] * 3, ["I", "II", ""]])
def test_without_a_chapter_of_two_labels_nothing_is_added(chapters: list[str]) -> None:
    z, y = torch.randn(2, 3, generator=torch.Generator().manual_seed(2)), torch.eye(3)[:2]
    got = MultiLabelLoss(LossSettings(coarse=1.0), chapters=chapters)(z, y)
    assert torch.equal(got, MultiLabelLoss()(z, y))


def test_chapters_that_are_needed_are_asked_for() -> None:
    with pytest.raises(ValueError, match="needs the chapters"):
        MultiLabelLoss(LossSettings(coarse=1.0))
