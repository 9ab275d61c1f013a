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
    multiple of 8 (ties stay shuffled). All batches have nearly the same size — at most one apart inside a pool — instead of a last one
    with a few records, whose records would weigh more in the mean loss of their step.
    """
    order = generator.permutation(len(lengths))
    batches: list[IndexArray] = []
    for pool in _even_parts(order, batch_size * pool_batches):
        widths = np.array([padded_length(int(lengths[row])) for row in pool])
        batches.extend(_even_parts(pool[np.argsort(widths, kind="stable")], batch_size))
    return [batches[position] for position in generator.permutation(len(batches))]


def shuffled_batches(count: int, batch_size: int, generator: np.random.Generator) -> list[IndexArray]:
    """Positions 0 … count − 1 in random batches of nearly equal size, whatever their length."""
    return _even_parts(generator.permutation(count), batch_size)


def _even_parts(rows: IndexArray, largest: int) -> list[IndexArray]:
    """`rows` in as few parts of at most `largest` as possible, sizes at most one apart."""
    if len(rows) == 0:
        return []
    return [part.astype(np.int64) for part in np.array_split(rows, -(-len(rows) // largest))]
