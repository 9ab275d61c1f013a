"""FreeLB: Zhu, Cheng, Gan, Sun, Goldstein, Liu, *FreeLB: Enhanced Adversarial Training for Natural Language
Understanding*, ICLR 2020, Algorithm 1.

Symbols of the algorithm and their names here:

    X, y           embedded notes and labels          `embedded` [B, L, H], `batch.targets`
    ε              bound of the perturbation          `radius` (× the note's norm if `relative`)
    K, α           ascent steps and their size        `steps`, `step_size` (× the note's norm if `relative`)
    δ₀             U(−ε, ε) / √N_δ                    `initial_perturbation`; N_δ = real tokens of the note × H
    δ_t            Π(δ_{t−1} + α·g_adv / ‖g_adv‖)     `ascend`, one norm and one ball per note
    g_K            Σ_t (1/K) ∇_θ L(f_θ(X + δ_{t−1}))  what `backward` leaves in the parameters' `.grad`

As published: the embeddings are looked up again in every step, so that the embedding matrix gets its share of every
gradient; K losses divided by K and no further one; the same dropout masks in all K steps; pads are never disturbed;
δ_K, which no loss would see, is not computed. For the norm `linf`, as in the authors' code, δ₀ ~ U(−ε, ε) and
the gradient is divided by its largest element.

Deviations, each of them off when the argument has its published value:

* `relative` (published: off). ε and α are shares of the norm of the embedded note — for `linf` of its root mean square —
  because an absolute ε means nothing across encoders whose embeddings differ in norm by 50 ×.
* `weight` w < 1 (published: 1). Adds a clean pass: (1 − w)·L(X) + w·FreeLB. One forward and backward pass more.
* `top_loss` s < 1 (published: 1). Only the ⌈s·B⌉ notes with the highest loss in the first pass go through the
  others. They weigh 1/K in each pass, the rest weigh 1 in the first and 0 after: each record still weighs one in total,
  so with ε = 0 and no dropout the gradient is that of plain training. Dropout masks of the later passes are drawn from the same
  generator state, but for a smaller batch: they are the same in all passes but the first.
* `every` n > 1 (published: 1): the loop calls the method on every n-th step only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import OnEmbeddings, StepContext
from emr_fl_client.adversarial.passes import accumulate, hardest, record_losses
from emr_fl_client.adversarial.perturbation import ascend, initial_perturbation, note_norm
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed
from emr_fl_client.training.losses import MultiLabelLoss


class FreeLB(OnEmbeddings):
    """FreeLB over any encoder that takes `inputs_embeds`; see the module's docstring."""

    name = "freelb"

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate FreeLB's gradients; see `AdversarialMethod`."""
        settings = self.settings
        dropout = DropoutState.capture(batch.input_ids.device)
        if settings.weight < 1.0:
            clean = record_losses(model, batch, None, loss, context)
            accumulate((1.0 - settings.weight) * clean.mean(), context)
        if settings.weight == 0.0:
            return clean.detach()

        delta: Tensor | None = None
        first = size = weights = torch.empty(0)
        for step in range(settings.steps):
            if step or settings.weight < 1.0:
                dropout.restore()
            embedded = embed(model, batch)
            if delta is None:
                size = note_norm(embedded, batch.attention_mask, settings.norm, settings.relative)
                delta = initial_perturbation(
                    embedded, batch.attention_mask, size * settings.radius, settings.norm, context.generator
                )
            delta.requires_grad_(step + 1 < settings.steps)
            losses = record_losses(model, batch, embedded + delta, loss, context)
            if step == 0:
                first = losses.detach()
                count = len(first)
                chosen = hardest(first, settings.top_loss if settings.steps > 1 else 1.0)
                weights = first.new_full((count,), settings.weight / count)
                weights[chosen] /= settings.steps
            accumulate((weights * losses).sum(), context)
            if step + 1 == settings.steps:
                break
            assert delta.grad is not None
            direction, delta = delta.grad, delta.detach()
            if step == 0 and len(chosen) < count:
                batch = batch.rows(chosen)
                width = batch.input_ids.shape[1]
                delta, direction = delta[chosen, :width], direction[chosen, :width]
                size, weights = size[chosen], weights[chosen]
            delta = ascend(
                delta,
                direction,
                size * settings.ascent,
                size * settings.radius,
                settings.norm,
                batch.attention_mask,
            )
        return first
