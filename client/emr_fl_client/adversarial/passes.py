"""Forward passes over notes or over their disturbed embeddings, and which records take part in which pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.method import StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import logits_of
from emr_fl_client.training.losses import MultiLabelLoss


def forward(model: nn.Module, batch: Batch, embedded: Tensor | None, context: StepContext) -> Tensor:
    """Logits [B, K] of the notes, or of `embedded` in the place of their word embeddings."""
    with context.precision.autocast():
        return logits_of(model, batch, embedded)


def record_losses(
    model: nn.Module, batch: Batch, embedded: Tensor | None, loss: MultiLabelLoss, context: StepContext
) -> Tensor:
    """The loss of each record, float32 [B]; see `forward`."""
    return loss.per_record(forward(model, batch, embedded, context), batch.targets)


def hardest(losses: Tensor, share: float) -> Tensor:
    """Rows of the ⌈share·B⌉ highest losses, ascending: int64."""
    if share >= 1.0:
        return torch.arange(len(losses), device=losses.device)
    kept = math.ceil(share * len(losses))
    return losses.topk(kept).indices.sort().values


def clean_weights(losses: Tensor, chosen: Tensor, adversarial: float) -> Tensor:
    """Weights of the clean losses, [B]: (1 − w)/B for the chosen rows, 1/B for those that get no adversarial pass."""
    weights = losses.new_full((len(losses),), 1.0 / len(losses))
    weights[chosen] *= 1.0 - adversarial
    return weights


def subset(batch: Batch, chosen: Tensor) -> Batch:
    """The chosen rows; the batch itself where those are all of them."""
    return batch if len(chosen) == len(batch.targets) else batch.rows(chosen)


def accumulate(value: Tensor, context: StepContext) -> None:
    """Add the gradient of a scalar, scaled, to the parameters'."""
    context.scale(value).backward()  # type: ignore[no-untyped-call]


def gradient_of(value: Tensor, delta: Tensor, context: StepContext, *, keep: bool = False) -> Tensor:
    """∂value/∂δ, scaled; the parameters get nothing. `keep`: the graph is needed once more."""
    (gradient,) = torch.autograd.grad(context.scale(value), delta, retain_graph=keep)
    return gradient
