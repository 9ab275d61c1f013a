"""Bias-corrected bootstrap intervals, over records or over patients.

Interval: Efron, Better Bootstrap Confidence Intervals, JASA 1987, the BC interval (his eq. 2.3): with G the
distribution of the resampled statistic and z₀ = Φ⁻¹(G(θ̂)), the ends are G⁻¹(Φ(2·z₀ ∓ z_{1−α/2})).
Macro-F1 over a long tail needs it: rare labels pull the resampled values below the estimate. Simulated coverage of the
nominal 95 % with 50 Zipf labels, 1.5 a record (300 trials each, 1000 resamples; `tests/shared/metrics` keeps a reduced copy):

======  ==========  ==============
n       percentile  bias-corrected
======  ==========  ==============
300     .83         .83
500     .81         .90
1000    .85         .96
2000    .86         .93
======  ==========  ==============

Below 500 records no interval of this kind is to be trusted at its nominal level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics.arrays import FloatArray, paired_decisions
from emr_fl_shared.metrics.classification import f1_from_counts, macro_f1

RESAMPLES = 1000
_CHUNK = 100
"""Resamples drawn at a time: memory stays near 100 × clusters numbers whatever `resamples` is."""


@dataclass(frozen=True)
class Interval:
    """A point estimate with the ends of its interval, at `level` (a fraction)."""

    estimate: float
    low: float
    high: float
    level: float

    def to_json(self) -> dict[str, float]:
        """{estimate, low, high, level}."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high, "level": self.level}


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """BC interval of any statistic of a set of `n` records.

    `statistic` gets the row numbers of a resample (int64, with repetitions) and returns its value; a difference of two
    systems on the same rows gives a paired comparison. With `clusters` (one id a record, such as the patient) whole
    clusters are drawn, as visits of one patient are not independent. Same seed, same interval.
    """
    _check_arguments(n, resamples, level)
    members = _members(_cluster_index(n, clusters))
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for resample in range(resamples):
        chosen = generator.integers(0, len(members), size=len(members))
        drawn[resample] = statistic(np.concatenate([members[cluster] for cluster in chosen]))
    return _bias_corrected(float(statistic(np.arange(n))), drawn, level)


def macro_f1_interval(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    seed: int,
    patients: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """BC interval of macro-F1 from truth and decisions, bool [n, K]; with `patients`, whole patients are drawn.

    The same as `bootstrap_interval` with macro-F1, as matrix products of cluster counts: 2,000 records × 50 labels ×
    1000 resamples take about a quarter of a second on one core.
    """
    truth, decisions = paired_decisions(y, predicted)
    _check_arguments(len(truth), resamples, level)
    cluster = _cluster_index(len(truth), patients)
    size = int(cluster.max()) + 1

    def per_cluster(matrix: NDArray[np.bool_]) -> NDArray[np.float32]:
        sums = np.zeros((size, matrix.shape[1]), dtype=np.float32)  # exact: whole numbers far below 2^24
        np.add.at(sums, cluster, matrix)
        return sums

    tp, fp, fn = (per_cluster(m) for m in (truth & decisions, ~truth & decisions, truth & ~decisions))
    generator = np.random.default_rng(seed)
    drawn: list[FloatArray] = []
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        picks = generator.integers(0, size, size=(count, size))
        picks += np.arange(count)[:, None] * size
        weights = np.bincount(picks.ravel(), minlength=count * size).reshape(count, size).astype(np.float32)
        sampled_tp, sampled_fn = weights @ tp, weights @ fn
        scores = f1_from_counts(sampled_tp, weights @ fp, sampled_fn)
        occurs = (sampled_tp + sampled_fn) > 0  # a label absent from a resample is left out of its mean
        drawn.append((scores * occurs).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))
    return _bias_corrected(macro_f1(truth, decisions), np.concatenate(drawn), level)


def _bias_corrected(estimate: float, drawn: FloatArray, level: float) -> Interval:
    if not (math.isfinite(estimate) and np.isfinite(drawn).all()):
        raise DataError(
            tr("a resampled statistic is not a number", "重抽样统计量不是数值"), where="bootstrap"
        )
    normal = NormalDist()
    # Ties count half; an estimate outside all resamples would give an infinite z₀.
    below = float(np.count_nonzero(drawn < estimate) + 0.5 * np.count_nonzero(drawn == estimate)) / len(drawn)
    below = min(max(below, 0.5 / len(drawn)), 1.0 - 0.5 / len(drawn))
    bias, width = normal.inv_cdf(below), normal.inv_cdf(0.5 + level / 2)
    low, high = np.quantile(drawn, [normal.cdf(2 * bias - width), normal.cdf(2 * bias + width)])
    return Interval(estimate, float(low), float(high), level)


def _cluster_index(n: int, clusters: Sequence[Hashable] | None) -> NDArray[np.int64]:
    """A number for each record's cluster, numbered by first appearance."""
    if clusters is None:
        return np.arange(n, dtype=np.int64)
    if len(clusters) != n:
        raise DataError(
            tr("as many cluster ids as records are needed", "分组编号数与记录数不符"),
            where="bootstrap",
            got=str(len(clusters)),
            expected=str(n),
        )
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.int64)


def _members(cluster: NDArray[np.int64]) -> list[NDArray[Any]]:
    order = np.argsort(cluster, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)


def _check_arguments(n: int, resamples: int, level: float) -> None:
    if n < 1:
        raise DataError(tr("nothing to resample", "没有可重抽样的记录"), where="bootstrap", got=f"n = {n}")
    if resamples < 2 or not 0.0 < level < 1.0:
        raise DataError(
            tr("wrong bootstrap arguments", "重抽样参数有误"),
            where="bootstrap",
            got=f"resamples = {resamples}, level = {level}",
            expected="resamples ≥ 2, 0 < level < 1",
        )
