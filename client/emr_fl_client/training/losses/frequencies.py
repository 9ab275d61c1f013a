"""How often each label occurs among the records that are trained on: what losses for a long tail are made from.

The numbers come from the site's own training records and never leave it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class LabelFrequencies:
    """`records` N; `counts` n_k, float64 [K], at least 1 (a label that never occurs counts as one that occurs once);
    `prior` π_k, float64 [K] in (0, 1): the share of the *drawn* records that have the label.

    Balanced sampling shows the model another prior than the site has, and a correction for the prior must be one for what
    was shown. π_k = (N·s_k + ½) / (N + 1), s_k the share drawn, so that its log-odds are finite for any label.
    """

    records: int
    counts: Tensor
    prior: Tensor

    @classmethod
    def of(
        cls,
        y: NDArray[np.bool_],
        weights: NDArray[np.float64] | None = None,
        device: torch.device | None = None,
    ) -> LabelFrequencies:
        """From labels bool [N, K] and the probabilities [N] with which `draw_epoch` draws the records (None: all alike)."""
        records = len(y)
        counts = y.sum(axis=0).astype(np.float64)
        share = counts / records if weights is None else weights @ y
        prior = (records * share + 0.5) / (records + 1)
        known = torch.from_numpy(np.maximum(counts, 1.0))
        return cls(records, known.to(device), torch.from_numpy(prior).to(device))

    def of_labels(self, mask: Tensor) -> LabelFrequencies:
        """Those of the labels where `mask` (bool [K]) is true."""
        return LabelFrequencies(self.records, self.counts[mask], self.prior[mask])
