"""Expected calibration error, the Brier score, and the bins of a reliability curve.

ECE = Σ_b n_b / n · |accuracy_b − confidence_b| over bins of confidence (Guo et al., On Calibration of Modern Neural
Networks, ICML 2017, eq. 3). With several labels a record, confidence is the probability of the most probable label and
accuracy is whether that label is among the true ones.

Bins have equal `width`, as in the paper, or equal `mass`: as many records in each (Nixon et al., Measuring Calibration in
Deep Learning, CVPR workshops 2019). Equal confidences share a bin of equal mass, so the order of the records
does not matter; with many ties there are fewer bins.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from emr_fl_shared.metrics.arrays import BoolArray, FloatArray, paired
from emr_fl_shared.metrics.classification import mean_over_present

ECE_BINS = 10
Binning = Literal["width", "mass"]


def ece_top_label(y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS, binning: Binning = "width") -> float:
    """ECE of the most probable label. `y` bool [n, K], `p` float [n, K]; a fraction in [0, 1]."""
    return _calibration_error(*_top_label(*paired(y, p)), bins, binning)


def ece_per_label(
    y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS, binning: Binning = "width"
) -> FloatArray:
    """Each label's own ECE [K]; NaN for a label that never occurs in `y`."""
    truth, probabilities = paired(y, p)
    errors = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        errors[label] = _calibration_error(probabilities[:, label], truth[:, label], bins, binning)
    return errors


def ece_labelwise(y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS, binning: Binning = "width") -> float:
    """Mean over the labels that occur of each label's own ECE; 0.0 when none occurs.

    A constant base rate already scores below .001 here when labels are rare: read it beside `ece_top_label`.
    """
    return mean_over_present(ece_per_label(y, p, bins=bins, binning=binning))


def brier_per_label(y: ArrayLike, p: ArrayLike) -> FloatArray:
    """The mean squared error of each label's probability [K] (Brier 1950, of one outcome)."""
    truth, probabilities = paired(y, p)
    scores: FloatArray = ((probabilities - truth) ** 2).mean(axis=0)
    return scores


def brier_score(y: ArrayLike, p: ArrayLike) -> float:
    """The mean of `brier_per_label` over all K labels."""
    return float(brier_per_label(y, p).mean())


def reliability_bins(
    y: ArrayLike, p: ArrayLike, *, bins: int = ECE_BINS
) -> list[dict[str, float | int | None]]:
    """The bins behind `ece_top_label`: {low, high, n, confidence, accuracy}, (low, high], the first one with its 0.

    Confidence and accuracy are the bin's means, `None` where the bin is empty.
    """
    confidence, right = _top_label(*paired(y, p))
    counts, confidence_sums, right_sums = _bin_sums(confidence, right, _width_edges(bins))
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


def _width_edges(bins: int) -> FloatArray:
    # Edges as i / bins, so that a confidence of exactly .3 falls into (.2, .3] and not, by rounding, into the next bin.
    return np.arange(1, bins) / bins


def _mass_edges(confidence: FloatArray, bins: int) -> FloatArray:
    """The confidences that end all bins but the last: every n / bins of them in order."""
    ends = np.ceil(np.arange(1, bins) * len(confidence) / bins).astype(np.int64) - 1
    return np.unique(np.sort(confidence)[ends])


def _bin_sums(
    confidence: FloatArray, right: BoolArray, inner_edges: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Records, sums of confidence and numbers of right ones in each of len(inner_edges) + 1 bins (low, high]."""
    index = np.searchsorted(inner_edges, confidence, side="left")

    def sums(values: FloatArray) -> FloatArray:
        return np.bincount(index, weights=values, minlength=len(inner_edges) + 1).astype(np.float64)

    return sums(np.ones(len(index))), sums(confidence), sums(right.astype(np.float64))


def _calibration_error(confidence: FloatArray, right: BoolArray, bins: int, binning: Binning) -> float:
    edges = _width_edges(bins) if binning == "width" else _mass_edges(confidence, bins)
    _, confidence_sums, right_sums = _bin_sums(confidence, right, edges)
    # n_b/n · |right_b/n_b − confidence_b/n_b| without the division by an empty bin
    return float(np.abs(right_sums - confidence_sums).sum() / len(confidence))
