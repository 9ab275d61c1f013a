"""Focal loss: Lin, Goyal, Girshick, He, Dollár, *Focal Loss for Dense Object Detection*, ICCV 2017, eq. 5, in its multi-label form

    −[α (1 − p)^γ y log p + (1 − α) p^γ (1 − y) log(1 − p)],   p = σ(z)

    z → `logits`    y → `targets`    γ → `gamma`    α → `alpha`, one number or one a label

with log p = logsigmoid(z), log(1 − p) = logsigmoid(−z), p^γ = exp(γ logsigmoid(z)): value and gradient stay
finite for any finite logit.

Soft targets: the loss is linear in y, so that of a mixed target λy + (1 − λ)y' is the mixture of both losses, as MixUp defines it.
What is often written instead, (1 − e^−BCE)^γ·BCE, takes e^−BCE for the probability of the truth, which it is for y = 0 or 1 only.

α a label: `balanced_alpha`. Lin et al. "set α by inverse class frequency" for two classes; here each label has its own.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def focal_with_logits(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float | Tensor) -> Tensor:
    """Elementwise focal loss, same shape as `logits` [B, K]; `targets` may be soft; `alpha` a number or a tensor [K]."""
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = alpha * (gamma * log_q).exp() * targets * log_p
    negative = (1.0 - alpha) * (gamma * log_p).exp() * (1.0 - targets) * log_q
    return -(positive + negative)


def balanced_alpha(prior: Tensor, exponent: float) -> Tensor:
    """α_k with α_k / (1 − α_k) = ((1 − π_k) / π_k)^e, [K].

    e = 1 is inverse class frequency: α_k = 1 − π_k, the positives of a label weigh as much as its negatives; e = 0 is α = 1/2 for all.
    """
    return (exponent * ((1.0 - prior) / prior).log()).sigmoid()
