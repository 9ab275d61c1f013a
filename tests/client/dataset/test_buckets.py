"""Batches of similar length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.dataset.batch import make_batch
from emr_fl_client.dataset.buckets import bucketed_batches, shuffled_batches
from emr_fl_shared.model.batching import padded_length


def cells(batches, lengths) -> int:
    return sum(len(rows) * padded_length(max(lengths[row] for row in rows)) for rows in batches)


@given(st.lists(st.integers(1, 128), max_size=200), st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_every_record_is_in_one_batch_and_batches_are_even(lengths, size: int, pool: int, seed: int) -> None:
    batches = bucketed_batches(lengths, size, np.random.default_rng(seed), pool_batches=pool)
    assert sorted(int(row) for rows in batches for row in rows) == list(range(len(lengths)))
    sizes = [len(rows) for rows in batches]
    assert all(0 < n <= size for n in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@given(st.integers(0, 300), st.integers(1, 40))
def test_the_number_of_batches_is_what_the_schedule_expects(count: int, size: int) -> None:
    lengths = list(range(1, count + 1))
    steps = -(-count // size)
    assert len(bucketed_batches(lengths, size, np.random.default_rng(0))) == steps
    assert len(shuffled_batches(count, size, np.random.default_rng(0))) == steps


def test_buckets_compute_less_padding_than_random_batches_or_a_fixed_length() -> None:
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in np.clip(rng.gamma(3, 15, 2000), 4, 128)]
    bucketed = cells(bucketed_batches(lengths, 32, rng), lengths)
    mixed = cells(shuffled_batches(len(lengths), 32, rng), lengths)
    assert bucketed < 1.15 * sum(lengths)
    assert bucketed < 0.6 * mixed
    assert bucketed < 0.5 * 128 * len(lengths)


def test_epochs_differ_and_equal_seeds_do_not() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(4, 128, 300)]
    generator = np.random.default_rng(1)
    first, second = (bucketed_batches(lengths, 32, generator) for _ in range(2))
    again = bucketed_batches(lengths, 32, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert {frozenset(rows.tolist()) for rows in first} != {frozenset(rows.tolist()) for rows in second}
    widths = [max(lengths[row] for row in rows) for rows in first]
    assert widths != sorted(widths)


@pytest.mark.parametrize("length", [None, 128])
def test_a_sub_batch_drops_columns_that_are_only_padding(length: int | None) -> None:
    import torch

    batch = make_batch([[1] * 30, [1] * 5, [1] * 9], np.eye(3, dtype=np.bool_), 0, length=length)
    assert batch.input_ids.shape == (3, length or 32)
    part = batch.rows(torch.tensor([1, 2]))
    assert part.input_ids.shape == part.attention_mask.shape == (2, 9)
    assert torch.equal(part.targets, torch.eye(3)[1:])
    assert "tensor" not in repr(batch)
