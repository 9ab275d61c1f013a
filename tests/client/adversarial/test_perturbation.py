"""The ball: projection, directions, start, and what pads and unusable gradients do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emr_fl_client.adversarial.perturbation import ascend, gaussian, initial_perturbation, note_norm, unit

tensors = st.integers(0, 1000).map(
    lambda seed: torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))
)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def size(values: Tensor, norm: str) -> Tensor:
    flat = values.flatten(1)
    return flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)


@given(
    tensors,
    tensors,
    st.floats(0, 10),
    st.floats(0, 5),
    st.sampled_from(["l2", "linf"]),
    st.sampled_from([1e-20, 1, 1e20]),
    st.booleans(),
)
def test_an_ascent_step_ends_in_the_ball_and_leaves_pads(
    start, gradient, step, radius, norm, scale, sign
) -> None:
    radii = torch.tensor([radius, radius / 2, 0.0])
    delta = ascend(
        start * MASK[:, :, None], gradient * scale, torch.full((3,), step), radii, norm, MASK, sign=sign
    )
    assert torch.isfinite(delta).all()
    assert (size(delta, norm) <= radii * (1 + 1e-5)).all()
    assert (delta[MASK == 0] == 0).all()


@given(tensors, st.floats(0, 5), st.sampled_from(["l2", "linf"]))
def test_the_start_is_in_the_ball_and_off_the_pads(embedded, radius: float, norm) -> None:
    radii = torch.tensor([radius, radius / 2, 0.0])
    delta = initial_perturbation(embedded, MASK, radii, norm, torch.Generator().manual_seed(0))
    assert (size(delta, norm) <= radii * (1 + 1e-5)).all()
    assert (delta[MASK == 0] == 0).all()
    if radius > 0.1:
        assert (delta[0] != 0).all()


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_note_without_usable_gradient_is_not_moved(bad: float) -> None:
    gradient = torch.ones(2, 4, 5)
    gradient[0] = bad
    start = torch.full((2, 4, 5), 0.01)
    delta = ascend(start, gradient, torch.ones(2), torch.full((2,), 9.0), "l2", torch.ones(2, 4))
    assert torch.equal(delta[0], start[0])
    assert not torch.equal(delta[1], start[1])


def test_directions() -> None:
    gradient = torch.tensor([[[3.0, -4.0], [7.0, 7.0]]])
    mask = torch.tensor([[1, 0]])
    by_length, _ = unit(gradient, "l2", mask, sign=True)
    by_largest, _ = unit(gradient, "linf", mask)
    by_sign, _ = unit(gradient, "linf", mask, sign=True)
    assert by_length.tolist() == [[[pytest.approx(0.6), pytest.approx(-0.8)], [0.0, 0.0]]]
    assert by_largest.tolist() == [[[0.75, -1.0], [0.0, 0.0]]]
    assert by_sign.tolist() == [[[1.0, -1.0], [0.0, 0.0]]]


def test_sizes_are_relative_to_the_real_tokens_of_each_note() -> None:
    embedded = torch.tensor([[[3.0, 4.0], [0.0, 12.0]], [[3.0, 4.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1], [1, 0]])
    assert note_norm(embedded, mask, "l2", relative=True).tolist() == [13.0, 5.0]
    assert note_norm(embedded, mask, "linf", relative=True).tolist() == [6.5, pytest.approx(5 / 2**0.5)]
    assert note_norm(embedded, mask, "l2", relative=False).tolist() == [1.0, 1.0]


def test_the_gaussian_start_has_variance_one_and_leaves_pads() -> None:
    mask = torch.ones(4, 100)
    mask[1, 50:] = 0
    drawn = gaussian(torch.zeros(4, 100, 50), mask, torch.Generator().manual_seed(0))
    real = drawn[mask.bool()]
    assert (drawn[mask == 0] == 0).all()
    assert abs(real.mean()) < 4 / real.numel() ** 0.5  # four standard errors
    assert abs(real.var() - 1.0) < 4 * (2 / real.numel()) ** 0.5
