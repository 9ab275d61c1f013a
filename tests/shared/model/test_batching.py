"""Rectangles of token ids."""

from __future__ import annotations

import pytest
import torch

from emr_fl_shared.model.batching import pad_batch, padded_length


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [(1, None, 8), (8, None, 8), (9, None, 16), (9, 12, 12), (12, 12, 12), (13, 12, 13)],
)
def test_lengths_are_rounded_up_but_not_over_the_limit(length: int, limit: int | None, expected: int) -> None:
    assert padded_length(length, limit) == expected


def test_rows_are_padded_on_the_right() -> None:
    ids, mask = pad_batch([[5, 6, 7], [8]], 9, length=4)
    assert torch.equal(ids, torch.tensor([[5, 6, 7, 9], [8, 9, 9, 9]]))
    assert torch.equal(mask, torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]))
    assert pad_batch([[1] * 9, [1]], 0)[0].shape == (2, 16)
