"""FedProx: the local model is held near the global one.

Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, Algorithm 2: site k looks for

    w_k^{t+1} ≈ argmin_w  F_k(w) + (μ/2) ‖w − w^t‖²,   gradient  ∇F_k(w) + μ (w − w^t)

| symbol | here |
|---|---|
| F_k | the site's training loss, regularised and adversarial as it is set |
| w^t | the parameters when `Proximal` is made: the round's global model |
| μ | `mu` |

Deviations: the paper leaves the local solver open (any γ-inexact one); here it is AdamW, which scales the proximal gradient like that of
the loss, and both are clipped together. The reported loss is F_k without the proximal term. The server averages as in FedAvg; the
paper draws sites in proportion to their records and averages evenly, here all sites take part and are weighted.
"""

from __future__ import annotations

import torch
from torch import nn


class Proximal:
    """Adds μ (w − w^t) to the gradient of every parameter that has one; holds a copy of the trainable parameters."""

    def __init__(self, model: nn.Module, mu: float) -> None:
        self._mu = mu
        self._pairs = [(p, p.detach().clone()) for p in model.parameters() if p.requires_grad]

    @torch.no_grad()
    def adjust(self) -> None:
        """See `GradientTerm`."""
        for parameter, start in self._pairs:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - start, alpha=self._mu)
