"""Class-balanced sampling: labels with n_c records are drawn in proportion to n_c^(1 − exponent), not n_c.

With a long tail this brings more than any other part of the method, at no cost (FreeLB and augmentation pay only
once it is there).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]


def balanced_weights(
    y: NDArray[np.bool_], exponent: float = 0.5, federation_counts: IndexArray | None = None
) -> NDArray[np.float64]:
    """Probability of each record, float64 [n], summing to 1.

    A record's weight is n_c^−exponent of its *rarest* label. The mean over its labels would draw 高血压 + a rare label
    little more often than 高血压 alone, so that rare labels that mostly come as a second diagnosis — most of
    them do — would stay rare; the rarest label is the one the record is needed for. A record without any label counts
    as one of the commonest label, so that it is never preferred.

    Args:
        y: which of the K labels each record has, bool [n, K].
        exponent: 0 = as the data are, 0.5 = square root, 1 = all labels equally often.
        federation_counts: records of each label in the whole federation, int64 [K], in place of those in `y`; where they
            are fewer than here (a site keeps small counts to itself), those in `y` count.
    """
    if len(y) == 0:
        return np.zeros(0, dtype=np.float64)
    counts = y.sum(axis=0).astype(np.float64)
    label_weight = np.zeros_like(counts)
    present = counts > 0
    if federation_counts is not None:
        counts = np.maximum(counts, federation_counts)
    if not present.any():
        return np.full(len(y), 1.0 / len(y))
    label_weight[present] = counts[present] ** -exponent
    weights: NDArray[np.float64] = np.where(y, label_weight[None, :], 0.0).max(axis=1)
    weights[weights == 0.0] = label_weight[present].min()
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def effective_count(counts: IndexArray, beta: float) -> float:
    """Σ_c (1 − β^n_c) / (1 − β): how much the records of all labels together weigh.

    Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, eq. 2; n_c is `counts[c]`, β is `beta`. β = 0
    counts labels, β → 1 counts records (a record once for each of its labels).
    Deviation: there it weighs labels within a loss, here sites within a mean.
    """
    return float(((1.0 - beta ** counts.astype(np.float64)) / (1.0 - beta)).sum())


def draw_epoch(
    weights: NDArray[np.float64], size: int, generator: np.random.Generator, *, systematic: bool = True
) -> IndexArray:
    """`size` record indices drawn by `weights`, in random order, int64 [size].

    `systematic` (Madow 1949) draws with one random offset and equal steps through the cumulated weights of the shuffled
    records: the expected number of draws of a record is the same as with independent draws, but the number
    drawn is always within one of it, so that an epoch leaves out fewer records and varies less. Otherwise every draw is
    independent, with replacement.

    The epoch's sample is drawn here first and grouped by length afterwards, so that batching can't bias it.
    """
    if len(weights) == 0 or size == 0:
        return np.zeros(0, dtype=np.int64)
    if not systematic:
        return generator.choice(len(weights), size=size, replace=True, p=weights).astype(np.int64)
    order = generator.permutation(len(weights))
    edges = np.cumsum(weights[order])
    points = (generator.random() + np.arange(size)) / size * edges[-1]
    drawn = order[np.minimum(np.searchsorted(edges, points, side="right"), len(order) - 1)]
    return generator.permutation(drawn).astype(np.int64)
