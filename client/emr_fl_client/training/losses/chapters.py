"""Coarse to fine: a loss on the ICD-10 chapters of the categories, through the probabilities of the categories themselves.

    p_c = 1 − Π_{k ∈ c} (1 − p_k),   t_c = max_{k ∈ c} y_k,   L_c = −[t_c log p_c + (1 − t_c) log(1 − p_c)]

    z → `logits`, p_k = σ(z_k)    y → `labels`    c → `chapters`    the weight of Σ_c L_c → `LossSettings.coarse`

A chapter is there if one of its categories is: the noisy-or of Pearl, *Probabilistic Reasoning in Intelligent Systems*, 1988, §4.3.2, on the
hierarchy constraint of Giunchiglia & Lukasiewicz, *Coherent Hierarchical Multi-Label Classification Networks*, NeurIPS 2020 (theirs is p_c =
max p_k, whose loss says nothing that the one of the categories does not say). Taking the wrong category of the right chapter costs less than
one of another chapter, and rare categories get a gradient from all records of their chapter.

The level has no parameters of its own: the saved model, its averaging and the output rows of absent labels stay what they are without it.

Stable: with s = Σ softplus(z_k), log(1 − p_c) = −s and log p_c = log(1 − e^−s); where s underflows, log p_c = logsumexp z_k, its limit.

Chapters with one category (of those that are not masked) are left out: they would count it twice. For a mixed record t_c is the larger
share, which is too small where both notes have a category of the chapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from emr_fl_client.training.losses.smoothing import smooth

_UNDERFLOW = 1e-20


class ChapterLoss:
    """The loss of each chapter. `chapters`: of each of the K labels its chapter, "" for none."""

    def __init__(self, chapters: Sequence[str]) -> None:
        names = sorted({name for name in chapters if name and chapters.count(name) > 1})
        self.members = torch.tensor([[name == own for own in chapters] for name in names]).reshape(
            len(names), len(chapters)
        )

    def __call__(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Loss float [B, C] from logits [B, K] and labels in [0, 1] [B, K], whose chapters are smoothed by `smoothing`."""
        members = self.members = self.members.to(logits.device)
        targets = smooth((labels[:, None, :] * members).amax(dim=2), smoothing)
        none = F.softplus(logits) @ members.to(logits).T
        tiny = none < _UNDERFLOW
        # the other branch gets a harmless value first: log 0 has no finite gradient, and 0 × NaN is NaN
        some = (-torch.expm1(-torch.where(tiny, 1.0, none))).log()
        limit = logits[:, None, :].masked_fill(~members, -torch.inf).logsumexp(dim=2)
        return (1.0 - targets) * none - targets * torch.where(tiny, limit, some)
