"""Bootstrap intervals, bias-corrected and accelerated, over records or over patients.

Interval: Efron, Better Bootstrap Confidence Intervals, JASA 1987 (BCa, his eq. 6.8). With G the distribution of the resampled
statistic, z₀ = Φ⁻¹(G(θ̂)) and a the acceleration, the ends are G⁻¹(Φ(z₀ + z / (1 − a·z))), z = z₀ ∓ z_{1−α/2}. a comes from
the jackknife over the clusters, Σ(θ̄ − θᵢ)³ / 6 (Σ(θ̄ − θᵢ)²)^{3/2} (Efron & Tibshirani, An Introduction to the Bootstrap,
1993, eq. 14.15). Macro-F1 over a long tail needs the bias correction: rare labels pull the resampled values below the estimate.
How often the interval holds the true value is measured by `tests/benchmarks/interval_coverage.py`; docs/evaluation.md has the table.

Everything that is a function of counts (F1 in all its means, differences of two models, gaps between groups) is resampled
by `resample_counts`, which works with matrix products; `bootstrap_interval` takes any statistic and is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics.arrays import FloatArray, paired_decisions
from emr_fl_shared.metrics.classification import f1_from_counts

RESAMPLES = 1000
LEVEL = 0.95
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


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives of each label: float [..., K]."""

    tp: NDArray[np.floating[Any]]
    fp: NDArray[np.floating[Any]]
    fn: NDArray[np.floating[Any]]

    def macro_f1(self) -> FloatArray:
        """Mean F1 over the labels that occur, [...]; 0.0 where none does."""
        occurs = (self.tp + self.fn) > 0
        scores = f1_from_counts(self.tp, self.fp, self.fn)
        mean: FloatArray = (scores * occurs).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
        return mean

    def micro_f1(self) -> FloatArray:
        """F1 over all pairs of record and label, [...]."""
        return f1_from_counts(self.tp.sum(axis=-1), self.fp.sum(axis=-1), self.fn.sum(axis=-1))

    def weighted_f1(self) -> FloatArray:
        """Mean F1 by number of positives, [...]; 0.0 where there is none."""
        support = self.tp + self.fn
        scores = f1_from_counts(self.tp, self.fp, self.fn)
        mean: FloatArray = (scores * support).sum(axis=-1) / np.maximum(support.sum(axis=-1), 1)
        return mean


F1_MEANS: dict[str, Callable[[Counts], FloatArray]] = {
    "macro_f1": Counts.macro_f1,
    "micro_f1": Counts.micro_f1,
    "weighted_f1": Counts.weighted_f1,
}


@dataclass(frozen=True)
class Resampled:
    """S statistics of the whole set, `estimate` [S], of R resamples, `drawn` [R, S], and without each cluster, `left_out` [C, S]."""

    estimate: FloatArray
    drawn: FloatArray
    left_out: FloatArray

    def interval(self, index: int, level: float = LEVEL) -> Interval:
        """The BCa interval of one statistic."""
        return _accelerated(float(self.estimate[index]), self.drawn[:, index], self.left_out[:, index], level)

    def difference(self, first: int, second: int, level: float = LEVEL) -> Interval:
        """The BCa interval of one statistic minus another."""
        return _accelerated(
            float(self.estimate[first] - self.estimate[second]),
            self.drawn[:, first] - self.drawn[:, second],
            self.left_out[:, first] - self.left_out[:, second],
            level,
        )


def resample_counts(
    parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    statistics: Callable[[Sequence[Counts]], FloatArray],
    *,
    seed: int,
    patients: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Resample the counts of several parts together: two models on one set, or the groups of a set.

    `parts`: truth and decisions, bool [n, K], of the same n records (a group: both False outside it). `statistics` turns the
    parts' counts [..., K] into [..., S]. With `patients` (one id a record) whole patients are drawn, as visits of one patient
    are not independent; None: records. Same seed, same resamples. Raises DataError for shapes that differ and for a statistic
    that is not finite.
    """
    checked = [paired_decisions(y, predicted) for y, predicted in parts]
    n = len(checked[0][0])
    if any(len(truth) != n for truth, _ in checked):
        raise DataError(
            tr("the parts are not about the same records", "各部分的记录不一致"), where="bootstrap"
        )
    _check_arguments(n, resamples, LEVEL)
    cluster = _cluster_index(n, patients)
    size = int(cluster.max()) + 1

    def per_cluster(matrix: NDArray[np.bool_]) -> NDArray[np.float32]:
        sums = np.zeros((size, matrix.shape[1]), dtype=np.float32)  # exact: whole numbers far below 2^24
        np.add.at(sums, cluster, matrix)
        return sums

    counted = [
        tuple(per_cluster(m) for m in (truth & decided, ~truth & decided, truth & ~decided))
        for truth, decided in checked
    ]

    def of(weights: NDArray[np.float32]) -> FloatArray:
        return statistics([Counts(*(weights @ matrix for matrix in matrices)) for matrices in counted])

    whole = [Counts(*(matrix.sum(axis=0, keepdims=True) for matrix in matrices)) for matrices in counted]
    without = [
        Counts(*(matrix.sum(axis=0, keepdims=True) - matrix for matrix in matrices)) for matrices in counted
    ]
    generator = np.random.default_rng(seed)
    drawn: list[FloatArray] = []
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        picks = generator.integers(0, size, size=(count, size))
        picks += np.arange(count)[:, None] * size
        weights = np.bincount(picks.ravel(), minlength=count * size).reshape(count, size)
        drawn.append(of(weights.astype(np.float32)))
    found = Resampled(statistics(whole)[0], np.concatenate(drawn), statistics(without))
    for values in (found.estimate, found.drawn):
        _check_finite(values)
    return found


def f1_intervals(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    seed: int,
    patients: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """BCa intervals of `macro_f1`, `micro_f1` and `weighted_f1` from truth and decisions, bool [n, K].

    2,000 records × 50 labels × 1000 resamples take about a third of a second on one core. What is drawn: `resample_counts`.
    """
    truth, decisions = paired_decisions(y, predicted)
    _check_arguments(len(truth), resamples, level)
    found = resample_counts(
        [(truth, decisions)],
        lambda parts: np.stack([mean(parts[0]) for mean in F1_MEANS.values()], axis=-1),
        seed=seed,
        patients=patients,
        resamples=resamples,
    )
    return {name: found.interval(index, level) for index, name in enumerate(F1_MEANS)}


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """BCa interval of any statistic of a set of `n` records; it is called once a resample and once a cluster.

    `statistic` gets the row numbers of a resample (int64, with repetitions) and returns its value; a difference of two
    systems on the same rows gives a paired comparison. With `clusters` (one id a record, such as the patient) whole
    clusters are drawn, as visits of one patient are not independent. Same seed, same interval.
    """
    _check_arguments(n, resamples, level)
    cluster = _cluster_index(n, clusters)
    members = _members(cluster)
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for resample in range(resamples):
        chosen = generator.integers(0, len(members), size=len(members))
        drawn[resample] = statistic(np.concatenate([members[number] for number in chosen]))
    if len(members) == 1:
        left_out = np.zeros(1)
    else:
        left_out = np.array([statistic(np.flatnonzero(cluster != number)) for number in range(len(members))])
    return _accelerated(float(statistic(np.arange(n))), drawn, left_out, level)


def _accelerated(estimate: float, drawn: FloatArray, left_out: FloatArray, level: float) -> Interval:
    _check_finite(np.append(drawn, estimate))
    normal = NormalDist()
    # Ties count half; an estimate outside all resamples would give an infinite z₀.
    below = float(np.count_nonzero(drawn < estimate) + 0.5 * np.count_nonzero(drawn == estimate)) / len(drawn)
    below = min(max(below, 0.5 / len(drawn)), 1.0 - 0.5 / len(drawn))
    bias, width = normal.inv_cdf(below), normal.inv_cdf(0.5 + level / 2)
    acceleration = _acceleration(left_out)

    def share(z: float) -> float:
        room = 1.0 - acceleration * z
        # beyond the pole of the transformation there is nothing but the outermost resample
        return normal.cdf(bias + z / room) if room > 0.0 else float(z > 0.0)

    low, high = np.quantile(drawn, [share(bias - width), share(bias + width)])
    return Interval(estimate, float(low), float(high), level)


def _acceleration(left_out: FloatArray) -> float:
    """From the statistic without each cluster; 0.0 where it does not vary."""
    deviation = left_out.mean() - left_out
    spread = float((deviation**2).sum())
    return float((deviation**3).sum()) / (6.0 * spread**1.5) if spread > 0.0 else 0.0


def _check_finite(values: FloatArray) -> None:
    if not np.isfinite(values).all():
        raise DataError(
            tr("a resampled statistic is not a number", "重抽样统计量不是数值"), where="bootstrap"
        )


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
