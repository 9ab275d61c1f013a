"""Whether two models differ on the same records: paired bootstrap, corrected for the number of comparisons."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.metrics.arrays import FloatArray
from emr_fl_shared.metrics.bootstrap import F1_MEANS, RESAMPLES, Counts, Interval, resample_counts

COMPARED = ("macro_f1", "micro_f1")


@dataclass(frozen=True)
class Difference:
    """First model minus second: the difference with its interval, and the p-value of no difference (two-sided)."""

    interval: Interval
    p: float

    def to_json(self) -> dict[str, Any]:
        """{difference, interval: [low, high], p}."""
        return {
            "difference": self.interval.estimate,
            "interval": [self.interval.low, self.interval.high],
            "p": self.p,
        }


def paired_differences(
    y: NDArray[np.bool_],
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    *,
    seed: int,
    patients: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """`COMPARED` measures of the decisions of two models, bool [n, K], on the same records; whole patients are drawn.

    Test: Efron & Tibshirani 1993, ch. 16. Resampled differences, moved to a mean of the null hypothesis, as large as the one
    found: p = (1 + #{|d* − d̂| ≥ |d̂|}) / (R + 1), so that it is never 0. Raises DataError for shapes that differ.
    """

    def differences(parts: Sequence[Counts]) -> FloatArray:
        one, other = parts
        return np.stack([F1_MEANS[name](one) - F1_MEANS[name](other) for name in COMPARED], axis=-1)

    found = resample_counts(
        [(y, first), (y, second)], differences, seed=seed, patients=patients, resamples=resamples
    )
    result = {}
    for index, name in enumerate(COMPARED):
        estimate = abs(found.estimate[index])
        away = np.abs(found.drawn[:, index] - found.estimate[index])
        # a difference of 0 has no direction: every resample is as far from it
        reached = int(np.count_nonzero(away >= estimate - 1e-12))
        result[name] = Difference(found.interval(index), (1 + reached) / (resamples + 1))
    return result


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979), in their order."""
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = highest
    return corrected
