"""Batches of records of similar length: a fixed length of 128 costs several times as much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.model.batching import padded_length

IndexArray = NDArray[np.int64]

# Sorting inside pools rather than over the whole epoch keeps batches mixed: two epochs seldom share a batch.
POOL_BATCHES = 32


def bucketed_batches(
    lengths: Sequence[int],
    batch_size: int,
    generator: np.random.Generator,
    *,
    pool_batches: int = POOL_BATCHES,
) -> list[IndexArray]:
    """Positions 0 … n − 1, each once, in batches of similar padded length; batches come in random order.

    Records are shuffled, cut into pools of `pool_batches` batches, and sorted inside a pool by length rounded up to a
    multiple of 8 (ties stay shuffled). There are ⌈n / batch_size⌉ batches, sizes at most one apart, instead of a
    last one with a few records, whose records would weigh more in the mean loss of their step.
    """
    parts = shuffled_batches(len(lengths), batch_size, generator)
    batches: list[IndexArray] = []
    for start in range(0, len(parts), pool_batches):
        pool = parts[start : start + pool_batches]
        rows = np.concatenate(pool)
        widths = np.array([padded_length(int(lengths[row])) for row in rows])
        ends = np.cumsum([len(part) for part in pool])[:-1]
        batches.extend(np.split(rows[np.argsort(widths, kind="stable")], ends))
    return [batches[position] for position in generator.permutation(len(batches))]


def shuffled_batches(count: int, batch_size: int, generator: np.random.Generator) -> list[IndexArray]:
    """Positions 0 … count − 1 in ⌈count / batch_size⌉ random batches of nearly equal size, whatever their length."""
    if count == 0:
        return []
    return np.array_split(generator.permutation(count).astype(np.int64), -(-count // batch_size))
