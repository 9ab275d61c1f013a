"""The geometry of a perturbation δ of embedded notes: one ball and one norm a note, pads never disturbed.

Shapes: δ, gradients and embedded notes [B, L, H]; radii, steps and norms one a note, [B]; attention masks [B, L].
"""

from __future__ import annotations

import torch
from torch import Tensor

from emr_fl_client.adversarial.method import Norm

_TINY = 1e-12


def note_norm(embedded: Tensor, attention_mask: Tensor, norm: Norm, relative: bool) -> Tensor:
    """What radius and step are multiplied by, float32 [B]: ‖X‖₂, for linf its root mean square; 1 if not `relative`."""
    real = embedded.detach().float() * attention_mask[:, :, None]
    if not relative:
        return real.new_ones(len(real))
    size = _per_note(real, "l2")
    if norm == "linf":
        size = size / (attention_mask.sum(dim=1).clamp(min=1) * embedded.shape[-1]).float().sqrt()
    return size


def initial_perturbation(
    embedded: Tensor, attention_mask: Tensor, radius: Tensor, norm: Norm, generator: torch.Generator
) -> Tensor:
    """δ₀ [B, L, H]: uniform in ±radius/√N_δ (l2) or ±radius (linf), 0 on pads; N_δ = real tokens of the note × H."""
    uniform = torch.empty_like(embedded, requires_grad=False, dtype=torch.float32)
    uniform.uniform_(-1.0, 1.0, generator=generator)
    if norm == "l2":
        elements = attention_mask.sum(dim=1).clamp(min=1) * embedded.shape[-1]
        radius = radius / elements.float().sqrt()
    return uniform * radius[:, None, None] * attention_mask[:, :, None]


def gaussian(embedded: Tensor, attention_mask: Tensor, generator: torch.Generator) -> Tensor:
    """Independent draws of N(0, 1), float32 [B, L, H], 0 on pads."""
    normal = torch.empty_like(embedded, requires_grad=False, dtype=torch.float32)
    return normal.normal_(generator=generator) * attention_mask[:, :, None]


def unit(values: Tensor, norm: Norm, attention_mask: Tensor, *, sign: bool = False) -> tuple[Tensor, Tensor]:
    """`values` / ‖values‖ for each note, or for linf with `sign` their signs; and which notes have a direction, bool [B].

    Where the norm is 0 or not finite (an overflow under fp16, whose step the scaler skips) the direction is 0.
    """
    values = values.float() * attention_mask[:, :, None]
    length = _per_note(values, norm)
    usable = torch.isfinite(length) & (length > 0)
    if sign and norm == "linf":
        scaled = values.sign()
    else:
        scaled = values / length.clamp(min=torch.finfo(torch.float32).tiny)[:, None, None]
    return torch.where(usable[:, None, None], scaled, 0.0), usable


def ascend(
    delta: Tensor,
    gradient: Tensor,
    step: Tensor,
    radius: Tensor,
    norm: Norm,
    attention_mask: Tensor,
    *,
    sign: bool = False,
) -> Tensor:
    """One ascent step along `unit(gradient)` and the projection back to the ball, each note by itself; pads stay 0.

    A note whose gradient is 0 or not finite is not moved.
    """
    direction, _ = unit(gradient, norm, attention_mask, sign=sign)
    return project(delta + step[:, None, None] * direction, radius, norm)


def project(delta: Tensor, radius: Tensor, norm: Norm) -> Tensor:
    """The nearest point of each note's ball."""
    if norm == "linf":
        bound = radius[:, None, None]
        return torch.minimum(torch.maximum(delta, -bound), bound)
    size = _per_note(delta, norm)
    return delta * (radius / size.clamp(min=_TINY)).clamp(max=1.0)[:, None, None]


def _per_note(values: Tensor, norm: Norm) -> Tensor:
    """The norm of each [L, H] slice, [B]."""
    flat = values.flatten(start_dim=1)
    return flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)
