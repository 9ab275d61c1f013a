"""Divergences between the K independent Bernoulli distributions of two sets of logits, elementwise, float32.

    KL(p‖q)             = p·log(p/q) + (1 − p)·log((1 − p)/(1 − q))
                        = p·(z_p − z_q) + log σ(−z_p) − log σ(−z_q)
    KL(p‖q) + KL(q‖p)   = (p − q)·(z_p − z_q),                       p = σ(z_p), q = σ(z_q)

Both are finite for any finite logits, and 0 with gradient 0 — to the last bit — where the logits are equal.
The published methods have one softmax; for several labels the distribution is the product of the K, so its KL is the sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p‖q) for each element, with p as a constant: only `q_logits` gets a gradient, q − p.

    The gradient is written down: that of log σ by automatic differentiation is rounded otherwise than σ, and near p = q,
    where virtual adversarial directions are sought, that rounding is all that would be left.
    """
    p_logits, q_logits = p_logits.detach().float(), q_logits.float()
    q_values = q_logits.detach()
    p, q = torch.sigmoid(p_logits), torch.sigmoid(q_values)
    value = p * (p_logits - q_values) + F.logsigmoid(-p_logits) - F.logsigmoid(-q_values)
    return value + (q - p) * (q_logits - q_values)


def symmetric_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p‖q) + KL(q‖p) for each element."""
    p_logits, q_logits = p_logits.float(), q_logits.float()
    return (torch.sigmoid(p_logits) - torch.sigmoid(q_logits)) * (p_logits - q_logits)
