"""Expected calibration error and the bins of a reliability curve.

ECE = Σ_b n_b / n · |accuracy_b − confidence_b| over equal-width bins of confidence (Guo et al., On Calibration of
Modern Neural Networks, ICML 2017, eq. 3). With several labels a record, confidence is the probability of the most
probable label and accuracy is whether that label is among the true ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emr_fl_shared.metrics.arrays import BoolArray, FloatArray, paired

ECE_BINS = 10


def ece_top_label(y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS) -> float:
    """ECE of the most probable label. `y` bool [n, K], `p` float [n, K]; a fraction in [0, 1]."""
    return _calibration_error(*_top_label(*paired(y, p)), bins)


def ece_labelwise(y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS) -> float:
    """Mean over the labels that occur of each label's own ECE; 0.0 when none occurs.

    A constant base rate already scores below .001 here when labels are rare: read it beside `ece_top_label`.
    """
    truth, probabilities = paired(y, p)
    present = np.flatnonzero(truth.any(axis=0))
    if not present.size:
        return 0.0
    errors = [_calibration_error(probabilities[:, label], truth[:, label], bins) for label in present]
    return float(np.mean(errors))


def reliability_bins(
    y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS
) -> list[dict[str, float | int | None]]:
    """The bins behind `ece_top_label`: {low, high, n, confidence, accuracy}, (low, high], the first one with its 0.

    Confidence and accuracy are the bin's means, `None` where the bin is empty.
    """
    confidence, right = _top_label(*paired(y, p))
    counts, confidence_sums, right_sums = _bin_sums(confidence, right, bins)
    return [
        {
            "low": index / bins,
            "high": (index + 1) / bins,
            "n": int(count),
            "confidence": float(confidence_sums[index] / count) if count else None,
            "accuracy": float(right_sums[index] / count) if count else None,
        }
        for index, count in enumerate(counts)
    ]


def _top_label(truth: BoolArray, probabilities: FloatArray) -> tuple[FloatArray, BoolArray]:
    top = probabilities.argmax(axis=1)
    rows = np.arange(len(top))
    return probabilities[rows, top], truth[rows, top]


def _bin_sums(
    confidence: FloatArray, right: BoolArray, bins: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    # Edges as i / bins, so that a confidence of exactly .3 falls into (.2, .3] and not, by rounding, into the next bin.
    inner_edges = np.arange(1, bins) / bins
    index = np.searchsorted(inner_edges, confidence, side="left")

    def sums(values: FloatArray) -> FloatArray:
        return np.bincount(index, weights=values, minlength=bins).astype(np.float64)

    return sums(np.ones(len(index))), sums(confidence), sums(right.astype(np.float64))


def _calibration_error(confidence: FloatArray, right: BoolArray, bins: int) -> float:
    _, confidence_sums, right_sums = _bin_sums(confidence, right, bins)
    # n_b/n · |right_b/n_b − confidence_b/n_b| without the division by an empty bin
    return float(np.abs(right_sums - confidence_sums).sum() / len(confidence))
