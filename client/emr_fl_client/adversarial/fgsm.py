"""FGSM: Goodfellow, Shlens, Szegedy, *Explaining and Harnessing Adversarial Examples*, ICLR 2015, sections 4 and 6; for word
embeddings with the 2-norm: Miyato, Dai, Goodfellow, *Adversarial Training Methods for Semi-Supervised Text Classification*,
ICLR 2017, section 3.

    J̃(θ, x, y) = α·J(θ, x, y) + (1 − α)·J(θ, x + η, y)
    η = ε·sign(∇_x J)           `linf`, Goodfellow et al.
    η = ε·g / ‖g‖₂, g = ∇_x J   `l2`, Miyato et al.

Symbols and their names here:

    x, y     embedded notes and labels      `embed(...)` [B, L, H], `batch.targets`
    ε        size of the perturbation       `radius` (× the note's norm if `relative`)
    η        the perturbation               `delta`
    α        share of the clean loss        1 − `weight`; published: weight 0.5

One forward and backward pass gives the clean gradient of the parameters and g; the second is adversarial.

Deviations: `relative` radii (see `freelb`); η = 0 on pads; the same dropout masks in both passes; the embeddings are not
normalised to unit variance as Miyato et al. do, since a pre-trained encoder expects its own. `top_loss` s < 1: only the ⌈s·B⌉
notes with the highest clean loss get the second pass, the others weigh 1 in the first.
With `weight` 1 the first pass gives no gradient to the parameters (but to the notes that get no second one).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import OnEmbeddings, StepContext
from emr_fl_client.adversarial.passes import (
    accumulate,
    clean_weights,
    gradient_of,
    hardest,
    record_losses,
    subset,
)
from emr_fl_client.adversarial.perturbation import ascend, note_norm
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed
from emr_fl_client.training.losses import MultiLabelLoss


class FGSM(OnEmbeddings):
    """One step along the gradient; see the module's docstring."""

    name = "fgsm"

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate FGSM's gradients; see `AdversarialMethod`."""
        settings = self.settings
        dropout = DropoutState.capture(batch.input_ids.device)
        embedded = embed(model, batch)
        delta = torch.zeros_like(embedded, dtype=torch.float32, requires_grad=True)
        losses = record_losses(model, batch, embedded + delta, loss, context)
        first, count = losses.detach(), len(losses)
        chosen = hardest(first, settings.top_loss)
        clean = (clean_weights(first, chosen, settings.weight) * losses).sum()
        if settings.weight < 1.0:
            accumulate(clean, context)
            assert delta.grad is not None
            gradient = delta.grad
            if settings.weight == 0.0:
                return first
        else:
            others = len(chosen) < count
            gradient = gradient_of(losses[chosen].mean(), delta, context, keep=others)
            if others:
                accumulate(clean, context)

        batch = subset(batch, chosen)
        gradient = gradient[chosen, : batch.input_ids.shape[1]]
        embedded = embed(model, batch)
        radius = settings.radius * note_norm(embedded, batch.attention_mask, settings.norm, settings.relative)
        start = torch.zeros_like(gradient)
        delta = ascend(start, gradient, radius, radius, settings.norm, batch.attention_mask, sign=True)
        dropout.restore()
        losses = record_losses(model, batch, embedded + delta, loss, context)
        accumulate((losses * (settings.weight / count)).sum(), context)
        return first
