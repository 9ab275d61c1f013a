"""Noise consistency: the symmetric divergence between what the model says of a note and of a noised copy.

    L + λ/B Σ [ KL(p(x)‖p(x′)) + KL(p(x′)‖p(x)) ]

After the stability training of Zheng, Song, Leung, Goodfellow, *Improving the Robustness of Deep Neural Networks via
Stability Training*, CVPR 2016, with the divergence made symmetric as in R-Drop (Liang et al., NeurIPS 2021) and taken
over K Bernoulli distributions. No label is used; both copies get a gradient.

    x, x′    the note as it is trained on, and its copy   `batch.input_ids`, `batch.noised_ids`
    λ        weight                                       `weight`

The copies are made by training's own noise (`NOISE_SHARES` in `augment.policy`), whose pairs the evaluation noise never uses. A note without a copy
(`probability`, or nothing in it could be changed) adds nothing, nor does a batch that MixUp mixed. A record's copy is made from that record alone.

It stands beside any method. With plain training the clean pass serves both terms: a forward and backward pass over the copies is
all it costs; a method of adversarial training is followed by a clean pass and one over the copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.divergence import symmetric_kl
from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import AdversarialMethod, AdversarialSettings, StepContext
from emr_fl_client.adversarial.passes import accumulate, forward, subset
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss


@dataclass(frozen=True, slots=True)
class ConsistencySettings:
    """`weight` λ, 0 switches it off; `probability`: share of the drawn notes that get a noised copy."""

    weight: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0.0:
            raise ValueError(f"weight must not be negative, got {self.weight}")
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")


class NoiseConsistency:
    """`method` with the consistency term added; see the module's docstring."""

    def __init__(self, method: AdversarialMethod, consistency: ConsistencySettings) -> None:
        self.method = method
        self.name = method.name
        self.settings: AdversarialSettings = method.settings
        self.consistency = consistency

    @property
    def per_record(self) -> bool:
        return self.method.per_record

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate the method's gradients and the consistency term's; see `AdversarialMethod`."""
        count, copied = len(batch.targets), _with_copy(batch)
        if len(copied) == 0:
            return self.method.backward(model, batch, loss, context)
        dropout = DropoutState.capture(batch.input_ids.device)
        if isinstance(self.method, Plain):
            logits = forward(model, batch, None, context)
            losses = loss.per_record(logits, batch.targets)
            first, total, clean = losses.detach(), losses.mean(), logits[copied]
        else:
            first = self.method.backward(model, batch, loss, context)
            dropout = DropoutState.capture(batch.input_ids.device)
            total, clean = first.new_zeros(()), forward(model, subset(batch, copied), None, context)
        # The same masks, where the copies have the notes' shape: an unchanged copy then adds exactly nothing.
        dropout.restore()
        noised = forward(model, _copies(batch, copied), None, context)
        divergence = loss.reduce(symmetric_kl(clean, noised)).sum() / count
        accumulate(total + self.consistency.weight * divergence, context)
        return first


def _with_copy(batch: Batch) -> Tensor:
    """Rows that have a noised copy, int64."""
    if batch.noised_mask is None or batch.mixed is not None:
        return torch.empty(0, dtype=torch.long)
    return batch.noised_mask.any(dim=1).nonzero().flatten()


def _copies(batch: Batch, rows: Tensor) -> Batch:
    assert batch.noised_ids is not None and batch.noised_mask is not None
    return subset(Batch(batch.noised_ids, batch.noised_mask, batch.targets), rows)
