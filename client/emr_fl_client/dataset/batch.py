"""What one step of training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emr_fl_shared.model.batching import pad_batch


@dataclass(frozen=True)
class Mixed:
    """The other half of a mixed batch: token ids of each row's partner, int64 [B, L], and the weights of both rows' embeddings,
    float32 [B, L], 0 where the row has ended."""

    partner_ids: Tensor = field(repr=False)
    own: Tensor = field(repr=False)
    other: Tensor = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """Token ids and attention mask int64 [B, L], right-padded; targets float32 [B, K] in [0, 1].

    In a batch that was mixed (`training.mixup`), mask and targets are the mixture's, and `mixed` has what the ids alone don't say.
    """

    input_ids: Tensor = field(repr=False)
    attention_mask: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    mixed: Mixed | None = None

    def rows(self, chosen: Tensor) -> Batch:
        """The sub-batch of the given rows (int64 [b]), without the columns that are padding in all of them."""
        mask = self.attention_mask[chosen]
        width = int(mask.sum(dim=1).max())
        mixed = self.mixed
        if mixed is not None:
            mixed = Mixed(*(part[chosen, :width] for part in (mixed.partner_ids, mixed.own, mixed.other)))
        return Batch(self.input_ids[chosen, :width], mask[:, :width], self.targets[chosen], mixed)


def make_batch(
    token_ids: Sequence[Sequence[int]],
    y: NDArray[np.bool_],
    pad_token_id: int,
    *,
    limit: int | None = None,
    length: int | None = None,
    device: torch.device | None = None,
) -> Batch:
    """Pad `token_ids` to a rectangle; see `pad_batch`."""
    ids, mask = pad_batch(token_ids, pad_token_id, limit=limit, length=length, device=device)
    return Batch(ids, mask, torch.from_numpy(y.astype(np.float32)).to(device))
