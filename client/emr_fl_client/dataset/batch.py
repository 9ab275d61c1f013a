"""What one step of training reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    `noised_ids` and `noised_mask` int64 [B, L′] are noised copies of the notes, for those methods that compare the two; the
    mask of a note without a copy is all 0.
    """

    input_ids: Tensor = field(repr=False)
    attention_mask: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    mixed: Mixed | None = None
    noised_ids: Tensor | None = field(default=None, repr=False)
    noised_mask: Tensor | None = field(default=None, repr=False)

    def parts(self, size: int | None) -> Iterator[Batch]:
        """The batch in as few parts of at most `size` rows as it takes, sizes at most one apart; `None`: as it is."""
        count = len(self.targets)
        if size is None or count <= size:
            yield self
            return
        for rows in torch.arange(count, device=self.targets.device).tensor_split(-(-count // size)):
            yield self.rows(rows)

    def rows(self, chosen: Tensor) -> Batch:
        """The sub-batch of the given rows (int64 [b]), without the columns that are padding in all of them."""
        ids, mask = _trimmed(self.input_ids[chosen], self.attention_mask[chosen])
        mixed, width = self.mixed, ids.shape[1]
        if mixed is not None:
            mixed = Mixed(*(part[chosen, :width] for part in (mixed.partner_ids, mixed.own, mixed.other)))
        if self.noised_ids is None or self.noised_mask is None:
            return Batch(ids, mask, self.targets[chosen], mixed)
        noised = _trimmed(self.noised_ids[chosen], self.noised_mask[chosen])
        return Batch(ids, mask, self.targets[chosen], mixed, *noised)


def _trimmed(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    width = int(mask.sum(dim=1).max())
    return ids[:, :width], mask[:, :width]


def make_batch(
    token_ids: Sequence[Sequence[int]],
    y: NDArray[np.bool_],
    pad_token_id: int,
    *,
    limit: int | None = None,
    length: int | None = None,
    device: torch.device | None = None,
    noised: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """Pad `token_ids` to a rectangle; see `pad_batch`. `noised`: the notes' noised copies, empty for a note without one."""
    ids, mask = pad_batch(token_ids, pad_token_id, limit=limit, length=length, device=device)
    targets = torch.from_numpy(y.astype(np.float32)).to(device)
    if noised is None or not any(noised):
        return Batch(ids, mask, targets)
    copies = pad_batch(noised, pad_token_id, limit=limit, length=length, device=device)
    return Batch(ids, mask, targets, None, *copies)
