"""Quantisation within its stated bound, for any values, weights and numbers of members."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from emr_fl_shared.secure_aggregation.fixed_point import FixedPoint, Weights

FLOATS = st.floats(-2.0, 2.0, width=32)


@given(
    values=st.integers(1, 12).flatmap(
        lambda members: arrays.arrays(np.float32, (members, 7), elements=FLOATS)
    ),
    weights=st.lists(st.floats(0.0, 2e3), min_size=12, max_size=12),
    bits=st.sampled_from([16, 32]),
    clip=st.sampled_from([1.5, 0.5, 1e-3]),
)
def test_a_sum_is_off_by_at_most_the_stated_error(
    values: np.ndarray, weights: list[float], bits: int, clip: float
) -> None:
    members = len(values)
    number, scale = FixedPoint(bits, clip, members), Weights(1e3, members)
    steps = [scale.steps(weight) for weight in weights[:members]]
    total = np.zeros(7, number.dtype)
    exact = np.zeros(7)
    for row, step in zip(values, steps, strict=True):
        total += number.encode(row, scale.share(step))
        exact += scale.share(step) * np.clip(row.astype(np.float64), -clip, clip)
    allowed = members * number.error
    # what is handed on is fp32
    np.testing.assert_allclose(number.decode(total), exact, rtol=1e-7, atol=allowed * (1 + 1e-9))
    assert abs(number.squared_norm(total) ** 0.5 - np.linalg.norm(exact)) <= 7**0.5 * allowed * (1 + 1e-9)


@given(members=st.integers(1, 100), bits=st.sampled_from([16, 32]), sign=st.sampled_from([-1.0, 1.0]))
def test_the_largest_sum_does_not_wrap(members: int, bits: int, sign: float) -> None:
    number = FixedPoint(bits, 0.25, members)
    one = number.encode(np.asarray([sign * np.float32(1e30)]))
    total = np.zeros(1, number.dtype)
    for _ in range(members):
        total += one
    np.testing.assert_allclose(number.decode(total), sign * 0.25 * members, rtol=1e-6)


def test_numbers_by_hand() -> None:
    # 3 members of 16 bits: L = floor(32767 / 3) = 10922 steps
    number = FixedPoint(16, 0.5, 3)
    assert number.levels == 10922
    assert number.error == pytest.approx(0.5 / 21844)
    encoded = number.encode(np.asarray([0.5, -0.5, 0.25, 0.9, 0.0], np.float32))
    assert encoded.tolist() == [10922, 65536 - 10922, 5461, 10922, 0]
    assert number.encode(np.asarray([0.5], np.float32), 0.5).tolist() == [5461]


def test_a_weight_is_cut_at_the_largest_and_never_negative() -> None:
    weights = Weights(100.0, 2)
    levels = (2**31 - 1) // 2
    assert [weights.steps(weight) for weight in (0.0, 50.0, 100.0, 1e9)] == [
        0,
        round(levels / 2),
        levels,
        levels,
    ]
    with pytest.raises(ValueError, match="negative"):
        weights.steps(-1.0)
    with pytest.raises(ValueError, match="negative"):
        weights.steps(float("nan"))
