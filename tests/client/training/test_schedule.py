"""The learning rate over the whole federation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.training.schedule import progress, rate_factor


def test_rounds_join_without_a_gap() -> None:
    # 3 rounds of 4 steps: the middles of 12 equal parts
    seen = [progress(number, 3, step, 4) for number in (1, 2, 3) for step in range(4)]
    assert seen == pytest.approx([(i + 0.5) / 12 for i in range(12)])


@pytest.mark.parametrize(
    ("at", "decay", "expected"),
    [
        (0.05, "linear", 0.5),
        (0.1, "linear", 1.0),
        (0.55, "linear", 0.5),
        (1.0, "linear", 0.0),
        (0.05, "cosine", 0.5),
        (0.55, "cosine", 0.5),
        (0.325, "cosine", 0.853553),
        (0.9, "constant", 1.0),
    ],
)
def test_hand_made_points(at: float, decay, expected: float) -> None:
    assert rate_factor(at, warmup=0.1, decay=decay) == pytest.approx(expected, abs=1e-6)


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 1))
def test_the_factor_stays_between_zero_and_one(at: float, warmup: float, decay, floor: float) -> None:
    assert 0.0 <= rate_factor(at, warmup=warmup, decay=decay, floor=floor) <= 1.0 + 1e-12


def test_no_step_is_lost_to_a_rate_of_zero() -> None:
    factors = [rate_factor(progress(1, 1, step, 5)) for step in range(5)]
    assert min(factors) > 0.0


def test_the_floor_is_what_remains() -> None:
    assert rate_factor(1.0, decay="cosine", floor=0.1) == pytest.approx(0.1)
