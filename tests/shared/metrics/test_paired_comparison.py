"""Two models on the same records: the paired test and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest

from emr_fl_shared.errors import DataError
from emr_fl_shared.metrics import COMPARED, bootstrap_interval, holm, macro_f1, micro_f1, paired_differences


def decisions(generator: np.random.Generator, y: np.ndarray, right: float) -> np.ndarray:
    """Decisions that are right in that share of the pairs of record and label."""
    return np.where(generator.random(y.shape) < right, y, ~y)


def test_a_better_model_is_found_and_an_equal_one_is_not() -> None:
    generator = np.random.default_rng(0)
    y = generator.random((400, 6)) < 0.3
    good, poor = decisions(generator, y, 0.95), decisions(generator, y, 0.85)
    found = paired_differences(y, good, poor, seed=1)
    assert set(found) == set(COMPARED)
    for difference in found.values():
        assert difference.interval.low > 0.05
        assert difference.p == pytest.approx(1 / 1001)
    other = paired_differences(y, good, decisions(generator, y, 0.95), seed=1)["macro_f1"]
    assert other.interval.low < 0 < other.interval.high and other.p > 0.05


def test_the_same_decisions_differ_by_nothing() -> None:
    y = np.random.default_rng(0).random((50, 3)) < 0.4
    difference = paired_differences(y, y, y, seed=0)["macro_f1"]
    assert (difference.interval.low, difference.interval.high, difference.p) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("score", [macro_f1, micro_f1])
def test_the_interval_is_that_of_the_plain_loop(score: object) -> None:
    generator = np.random.default_rng(3)
    y = generator.random((120, 4)) < 0.4
    one, other = decisions(generator, y, 0.9), decisions(generator, y, 0.8)
    patients = [f"p{row // 3}" for row in range(120)]
    found = paired_differences(y, one, other, seed=5, patients=patients)[score.__name__]  # type: ignore[attr-defined]
    slow = bootstrap_interval(
        lambda rows: score(y[rows], one[rows]) - score(y[rows], other[rows]),  # type: ignore[operator]
        120,
        seed=5,
        clusters=patients,
    )
    assert found.interval.low == pytest.approx(slow.low, abs=1e-9)
    assert found.interval.high == pytest.approx(slow.high, abs=1e-9)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Models of equal quality: p < .05 in about one of twenty (200 trials: more than 11 % would come once in 3,000 runs)."""
    generator, alarms = np.random.default_rng(7), 0
    for trial in range(200):
        y = generator.random((300, 5)) < 0.3
        one, other = decisions(generator, y, 0.9), decisions(generator, y, 0.9)
        alarms += paired_differences(y, one, other, seed=trial, resamples=200)["macro_f1"].p < 0.05
    assert 1 <= alarms <= 22


def test_records_must_be_the_same() -> None:
    y = np.ones((5, 2), dtype=bool)
    with pytest.raises(DataError):
        paired_differences(y, y, y[:4], seed=0)


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        # Holm 1979: the smallest times 4, the next times 3 …; none falls below the one before it; none exceeds 1
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm(p: list[float], corrected: list[float]) -> None:
    assert holm(p) == pytest.approx(corrected)
