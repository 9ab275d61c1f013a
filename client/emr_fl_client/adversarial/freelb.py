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

import math

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import AdversarialSettings, Norm, StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed, logits_of
from emr_fl_client.training.losses import MultiLabelLoss

_TINY = 1e-12


class FreeLB:
    """FreeLB over any encoder that takes `inputs_embeds`; see the module's docstring."""

    name = "freelb"

    def __init__(self, settings: AdversarialSettings) -> None:
        self.settings = settings

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate FreeLB's gradients; see `AdversarialMethod`."""
        settings = self.settings
        dropout = DropoutState.capture(batch.input_ids.device)
        if settings.weight < 1.0:
            clean = _losses(model, batch, None, loss, context)
            context.scale((1.0 - settings.weight) * clean.mean()).backward()  # type: ignore[no-untyped-call]
        if settings.weight == 0.0:
            return clean.detach()

        delta: Tensor | None = None
        first = size = weights = torch.empty(0)
        for step in range(settings.steps):
            if step or settings.weight < 1.0:
                dropout.restore()
            embedded = embed(model, batch)
            if delta is None:
                size = _note_norm(embedded, batch.attention_mask, settings)
                delta = initial_perturbation(
                    embedded, batch.attention_mask, size * settings.radius, settings.norm, context.generator
                )
            delta.requires_grad_(step + 1 < settings.steps)
            losses = _losses(model, batch, embedded + delta, loss, context)
            if step == 0:
                first = losses.detach()
                count = len(first)
                chosen = self._hardest(first)
                weights = first.new_full((count,), settings.weight / count)
                weights[chosen] /= settings.steps
            context.scale((weights * losses).sum()).backward()  # type: ignore[no-untyped-call]
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

    def _hardest(self, losses: Tensor) -> Tensor:
        """Rows that take part in the passes after the first, ascending: int64 [⌈s·B⌉]."""
        if self.settings.steps == 1 or self.settings.top_loss >= 1.0:
            return torch.arange(len(losses), device=losses.device)
        kept = math.ceil(self.settings.top_loss * len(losses))
        return losses.topk(kept).indices.sort().values


def initial_perturbation(
    embedded: Tensor, attention_mask: Tensor, radius: Tensor, norm: Norm, generator: torch.Generator
) -> Tensor:
    """δ₀ [B, L, H]: uniform in ±radius/√N_δ (l2) or ±radius (linf), 0 on pads. `radius` is one a note, [B]."""
    uniform = torch.empty_like(embedded, requires_grad=False, dtype=torch.float32)
    uniform.uniform_(-1.0, 1.0, generator=generator)
    if norm == "l2":
        elements = attention_mask.sum(dim=1).clamp(min=1) * embedded.shape[-1]
        radius = radius / elements.float().sqrt()
    return uniform * radius[:, None, None] * attention_mask[:, :, None]


def ascend(
    delta: Tensor, gradient: Tensor, step: Tensor, radius: Tensor, norm: Norm, attention_mask: Tensor
) -> Tensor:
    """One ascent step and the projection back to the ball, each note by itself; pads stay 0.

    A note whose gradient is 0 or not finite (an overflow under fp16, whose step the scaler skips) is not moved.
    `step` and `radius` are one a note, [B].
    """
    gradient = gradient.float() * attention_mask[:, :, None]
    length = _per_note(gradient, norm)
    usable = torch.isfinite(length) & (length > 0)
    direction = torch.where(
        usable[:, None, None],
        gradient / length.clamp(min=torch.finfo(torch.float32).tiny)[:, None, None],
        0.0,
    )
    moved = delta + step[:, None, None] * direction
    if norm == "linf":
        bound = radius[:, None, None]
        return torch.minimum(torch.maximum(moved, -bound), bound)
    size = _per_note(moved, norm)
    return moved * (radius / size.clamp(min=_TINY)).clamp(max=1.0)[:, None, None]


def _note_norm(embedded: Tensor, attention_mask: Tensor, settings: AdversarialSettings) -> Tensor:
    """What `radius` and `step_size` are multiplied by, float32 [B]: ‖X‖₂, for linf its root mean square; 1 if absolute."""
    real = embedded.detach().float() * attention_mask[:, :, None]
    if not settings.relative:
        return real.new_ones(len(real))
    size = _per_note(real, "l2")
    if settings.norm == "linf":
        size = size / (attention_mask.sum(dim=1).clamp(min=1) * embedded.shape[-1]).float().sqrt()
    return size


def _per_note(values: Tensor, norm: Norm) -> Tensor:
    """The norm of each [L, H] slice, [B]."""
    flat = values.flatten(start_dim=1)
    return flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)


def _losses(
    model: nn.Module, batch: Batch, embedded: Tensor | None, loss: MultiLabelLoss, context: StepContext
) -> Tensor:
    with context.precision.autocast():
        logits = logits_of(model, batch, embedded)
    return loss.per_record(logits, batch.targets)
