"""Token ids of different lengths → one rectangle, no wider than it has to be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LENGTH_MULTIPLE = 8


def padded_length(length: int, limit: int | None = None, multiple: int = LENGTH_MULTIPLE) -> int:
    """`length` rounded up to a multiple, but not above `limit` (the model's number of positions)."""
    rounded = -(-length // multiple) * multiple
    return rounded if limit is None else max(length, min(rounded, limit))


def pad_batch(
    token_ids: Sequence[Sequence[int]],
    pad_token_id: int,
    *,
    limit: int | None = None,
    length: int | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """Right-padded ids and attention mask, both int64 [B, L]; L is the longest row, rounded up to a multiple of 8.

    `length` forces L (fixed-length batches), `limit` bounds the rounding.
    """
    width = length or padded_length(max(len(row) for row in token_ids), limit)
    ids = torch.full((len(token_ids), width), pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(token_ids), width), dtype=torch.long)
    for position, row in enumerate(token_ids):
        ids[position, : len(row)] = torch.as_tensor(row, dtype=torch.long)
        mask[position, : len(row)] = 1
    return ids.to(device), mask.to(device)
