"""MixUp on word embeddings: Zhang, Cissé, Dauphin, Lopez-Paz, *mixup: Beyond Empirical Risk Minimization*, ICLR 2018, on embedded
notes as wordMixup of Guo, Mao, Zhang, *Augmenting Data with Mixup for Sentence Classification*, arXiv 1905.08941, eq. 1 to 3.

    x̃ = λ x_i + (1 − λ) x_j,   ỹ = λ y_i + (1 − λ) y_j,   λ ~ Beta(α, α)

    x_i → the word embeddings of row i    j → a random permutation of the batch    λ → `Mixed.share`, one a record    α → `alpha`

Pads take no part: where one of the two notes has ended, the other goes on alone with its own weight (λ or 1 − λ), as if the first were
followed by zeros. The mixed note is attended to wherever one of the two has a token and a weight above 0, so that λ = 1 is the note itself,
to the last bit. The mixture comes before FreeLB's perturbation, whose ball is that of the mixed note.

Limit: an encoder that normalises its word embeddings by themselves (`tiny`, ModernBERT) undoes the weight where a note goes on alone.

A mixed record depends on another one of its batch: see `Training.couples_records`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from emr_fl_client.dataset.batch import Batch, Mixed


def mix(batch: Batch, alpha: float, generator: np.random.Generator) -> Batch:
    """`batch` with a partner from the same batch for every row; a row whose partner is itself stays as it is."""
    count = len(batch.targets)
    partner = torch.from_numpy(generator.permutation(count)).to(batch.targets.device)
    share = torch.from_numpy(generator.beta(alpha, alpha, count).astype(np.float32)).to(batch.targets)
    return mixed_with(batch, partner, share)


def mixed_with(batch: Batch, partner: torch.Tensor, share: torch.Tensor) -> Batch:
    """`batch` mixed with its rows `partner` (int64 [B]), each row keeping `share` (float32 [B] in [0, 1]) of itself."""
    share = torch.where(partner == torch.arange(len(partner), device=partner.device), 1.0, share)
    own = share[:, None] * batch.attention_mask
    other = (1.0 - share)[:, None] * batch.attention_mask[partner]
    weight = share[:, None]
    return replace(
        batch,
        attention_mask=((own > 0.0) | (other > 0.0)).to(batch.attention_mask),
        targets=weight * batch.targets + (1.0 - weight) * batch.targets[partner],
        mixed=Mixed(batch.input_ids[partner], own, other),
    )
