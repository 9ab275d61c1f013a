"""VAT: Miyato, Maeda, Koyama, Ishii, *Virtual Adversarial Training: A Regularization Method for Supervised and
Semi-Supervised Learning*, TPAMI 2018, equations 5 to 8 and Algorithm 1.

    min_θ ℓ(θ) + α·R(θ),  R = 1/N Σ D[ p(y|x, θ̂), p(y|x + r, θ) ],   r = argmax_{‖r‖ ≤ ε} D[ p(y|x, θ̂), p(y|x + r, θ̂) ]

Symbols and their names here:

    x         embedded notes                        `embed(...)` [B, L, H]
    d         unit vector, N(0, I) at first         `direction`
    ξ         where the gradient of D is taken      `start` (× the note's norm if `relative`)
    K         power iterations d ← ∇_r D / ‖∇_r D‖  `steps`; published: 1
    ε         size of the perturbation              `radius` (× the note's norm if `relative`)
    α         weight of R                           `regularisation`; published: 1
    θ̂         the weights as constants              p(y|x, θ̂) comes from the clean pass, without gradient
    D         KL of the K Bernoulli distributions   `bernoulli_kl`, reduced as the loss is

No label is used for r. Deviations: several labels, so D is the sum of K divergences of Bernoulli distributions; labels that
the site lacks are left out of D; `relative` sizes (see `freelb`); r = 0 on pads; the same dropout masks in all passes, so that D
measures the perturbation and not the dropout; for `linf` (published: `l2`) d is the sign of the gradient. `top_loss` s < 1: R is
taken over the ⌈s·B⌉ notes with the highest loss, each with its weight 1/B, against a clean pass of their own without gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.divergence import bernoulli_kl
from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import OnEmbeddings, StepContext
from emr_fl_client.adversarial.passes import accumulate, forward, gradient_of, hardest, subset
from emr_fl_client.adversarial.perturbation import gaussian, note_norm, unit
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed
from emr_fl_client.training.losses import MultiLabelLoss


class VAT(OnEmbeddings):
    """The loss, and the divergence in the direction that changes the output most; see the module's docstring."""

    name = "vat"

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate VAT's gradients; see `AdversarialMethod`."""
        settings, count = self.settings, len(batch.targets)
        dropout = DropoutState.capture(batch.input_ids.device)
        logits = forward(model, batch, None, context)
        losses = loss.per_record(logits, batch.targets)
        accumulate(losses.mean(), context)
        first, target = losses.detach(), logits.detach()
        if settings.regularisation == 0.0:
            return first
        chosen = hardest(first, settings.top_loss)
        if len(chosen) < count:
            batch = subset(batch, chosen)
            dropout.restore()
            with torch.no_grad():
                target = forward(model, batch, None, context)

        mask = batch.attention_mask
        still = embed(model, batch).detach()
        size = note_norm(still, mask, settings.norm, settings.relative)[:, None, None]
        direction, _ = unit(gaussian(still, mask, context.generator), settings.norm, mask)
        for _ in range(settings.steps):
            dropout.restore()
            probe = (size * settings.start * direction).requires_grad_()
            divergence = loss.reduce(bernoulli_kl(target, forward(model, batch, still + probe, context)))
            gradient = gradient_of(divergence.mean(), probe, context)
            found, usable = unit(gradient, settings.norm, mask, sign=True)
            direction = torch.where(usable[:, None, None], found, direction)
        dropout.restore()
        embedded = embed(model, batch) + size * settings.radius * direction
        divergence = loss.reduce(bernoulli_kl(target, forward(model, batch, embedded, context)))
        accumulate((divergence * (settings.regularisation / count)).sum(), context)
        return first
