"""Bootstrap intervals: reproducible, clustered, and covering what they promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from emr_fl_shared.errors import DataError
from emr_fl_shared.metrics import (
    Interval,
    bootstrap,
    bootstrap_interval,
    f1_intervals,
    macro_f1,
    micro_f1,
    weighted_f1,
)


def macro_f1_interval(y: np.ndarray, predicted: np.ndarray, **given: Any) -> Interval:
    return f1_intervals(y, predicted, **given)["macro_f1"]


def zipf_set(
    generator: np.random.Generator, n: int, labels: int = 50
) -> tuple[np.ndarray, np.ndarray, float]:
    """Truth and decisions of a fixed classifier, and its macro-F1 in the population."""
    quality = np.random.default_rng(11)
    share = 1.5 / np.arange(1, labels + 1) / (1 / np.arange(1, labels + 1)).sum()
    recall, precision = np.clip(quality.normal(0.68, 0.15, (2, labels)), 0.2, 0.95)
    false_rate = share * recall * (1 - precision) / precision / (1 - share)
    y = generator.random((n, labels)) < share
    predicted = generator.random((n, labels)) < np.where(y, recall, false_rate)
    f1 = 2 * share * recall / (2 * share * recall + (1 - share) * false_rate + share * (1 - recall))
    return y, predicted, float(f1.mean())


def test_covers_the_population_value_of_a_long_tail() -> None:
    # A percentile interval covers about 85 % here; the bias-corrected one must do clearly better.
    generator, inside, trials = np.random.default_rng(5), 0, 60
    for trial in range(trials):
        y, predicted, true = zipf_set(generator, 1000)
        interval = macro_f1_interval(y, predicted, seed=trial, resamples=400)
        inside += interval.low <= true <= interval.high
    assert 0.90 <= inside / trials <= 1.0


@pytest.mark.parametrize("score", [macro_f1, micro_f1, weighted_f1])
def test_agrees_with_the_plain_loop(score: Callable[..., float]) -> None:
    y, predicted, _ = zipf_set(np.random.default_rng(1), 300, labels=8)
    patients = np.random.default_rng(2).integers(0, 120, 300).tolist()
    quick = f1_intervals(y, predicted, seed=0, patients=patients)[score.__name__]
    # the same draws: patients numbered by first appearance, 100 resamples drawn at a time
    plain = bootstrap_interval(lambda rows: score(y[rows], predicted[rows]), 300, seed=0, clusters=patients)
    assert quick.estimate == pytest.approx(plain.estimate, abs=1e-12)
    assert quick.estimate == pytest.approx(score(y, predicted), abs=1e-12)
    assert quick.low == pytest.approx(plain.low, abs=1e-9)
    assert quick.high == pytest.approx(plain.high, abs=1e-9)


def test_acceleration_by_hand() -> None:
    """The mean of 1, 1, 1, 5: left out one by one 7/3 three times and 1, so deviations −1/3 three times and 1."""
    values = np.array([1.0, 1.0, 1.0, 5.0])
    left_out = np.array([7 / 3, 7 / 3, 7 / 3, 1.0])
    expected = (3 * (-1 / 3) ** 3 + 1) / (6 * (3 * (1 / 3) ** 2 + 1) ** 1.5)
    assert bootstrap._acceleration(left_out) == pytest.approx(expected)
    assert expected == pytest.approx(0.0962250, abs=1e-6)
    interval = bootstrap_interval(lambda rows: float(values[rows].mean()), 4, seed=0, resamples=4000)
    # skewed to the right: the interval reaches further up than down
    assert interval.high - interval.estimate > interval.estimate - interval.low


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(8).exponential(1.0, 60)
    ours = bootstrap_interval(lambda rows: float(values[rows].mean()), 60, seed=0, resamples=20_000)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_mean_interval_matches_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    interval = bootstrap_interval(lambda rows: float(values[rows].mean()), 400, seed=0, resamples=2000)
    error = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - error, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.02)


def test_patients_drawn_whole_widen_the_interval() -> None:
    # 60 patients with 10 identical visits each: 600 records that are worth 60.
    y, predicted, _ = zipf_set(np.random.default_rng(4), 60, labels=5)
    y, predicted = np.repeat(y, 10, axis=0), np.repeat(predicted, 10, axis=0)
    patients = [f"p{i // 10}" for i in range(600)]
    by_record = macro_f1_interval(y, predicted, seed=0)
    by_patient = macro_f1_interval(y, predicted, seed=0, patients=patients)
    assert by_patient.high - by_patient.low > 2 * (by_record.high - by_record.low)


def test_same_seed_same_interval() -> None:
    y, predicted, _ = zipf_set(np.random.default_rng(6), 200, labels=6)
    first, again, other = (macro_f1_interval(y, predicted, seed=s, resamples=150) for s in (3, 3, 4))
    assert first == again and first != other


def test_constant_statistic_has_no_width() -> None:
    y = np.ones((20, 2), dtype=bool)
    interval = macro_f1_interval(y, y, seed=0)
    assert (interval.estimate, interval.low, interval.high) == (1.0, 1.0, 1.0)
    assert interval.to_json() == {"estimate": 1.0, "low": 1.0, "high": 1.0, "level": 0.95}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"n": 0}, id="no record"),
        pytest.param({"resamples": 1}, id="one resample"),
        pytest.param({"level": 1.0}, id="level 1"),
        pytest.param({"clusters": ["a"]}, id="too few cluster ids"),
        pytest.param({"statistic": lambda rows: float("nan")}, id="statistic is nan"),
    ],
)
def test_refuses(arguments: dict[str, object]) -> None:
    known: dict[str, object] = {"statistic": lambda rows: 0.5, "n": 3, "seed": 0} | arguments
    with pytest.raises(DataError):
        bootstrap_interval(**known)  # type: ignore[arg-type]
