"""SCAFFOLD at a site: its gradient is corrected by what the other sites' gradients are on average.

Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020, Algorithm 1:

    y_i ← y_i − η_l (g_i(y_i) − c_i + c),     c_i⁺ = c_i − c + (x − y_i) / (K η_l)     (option II)

| symbol | here |
|---|---|
| g_i(y_i) | the gradient of a step, after unscaling and before clipping |
| c, c_i | `server`, `own`: 0 before the first round |
| K | steps with a finite gradient |
| c_i⁺ | `control()` |

Deviations: with plain gradient steps of size η_l, (x − y_i) / (K η_l) is the mean of g_i − c_i + c, so that option II is c_i⁺ = mean of g_i.
That mean is taken here, because the local optimiser is AdamW with a schedule, whose displacement is not in units of a gradient. The
corrected gradient goes through clipping and AdamW. What is sent is in `emr_fl_server.aggregation.scaffold`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from emr_fl_shared.payload import Float32


class ControlVariate:
    """Adds c − c_i to every gradient and takes the mean of the gradients before; holds two copies of the parameters.

    `server` and `own` have an fp32 array for every name of `tensors_of(model)`; `own` is `None` where the site has none yet.
    """

    def __init__(
        self, model: nn.Module, server: Mapping[str, Float32], own: Mapping[str, Float32] | None
    ) -> None:
        state = model.state_dict(keep_vars=True)
        self._own = (
            {name: np.zeros_like(array) for name, array in server.items()} if own is None else dict(own)
        )
        self._parameters = {
            name: state[name]
            for name in server
            if isinstance(state[name], nn.Parameter) and state[name].requires_grad
        }
        self._correction = {
            name: torch.from_numpy(server[name] - self._own[name]).to(parameter.device)
            for name, parameter in self._parameters.items()
        }
        self._sum = {name: torch.zeros_like(tensor) for name, tensor in self._correction.items()}
        self._steps = 0

    @torch.no_grad()
    def adjust(self) -> None:
        """See `GradientTerm`. A gradient that overflowed (fp16; its step is skipped) does not count."""
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        norm = nn.utils.get_total_norm(list(gradients.values()))
        if not bool(torch.isfinite(norm)):
            return
        self._steps += 1
        for name, gradient in gradients.items():
            self._sum[name] += gradient
            gradient += self._correction[name]

    def control(self) -> dict[str, Float32]:
        """c_i⁺, a fresh fp32 array for each name: the mean gradient, or c_i where no step counted."""
        if self._steps == 0:
            return dict(self._own)
        means = {name: (total / self._steps).cpu().numpy() for name, total in self._sum.items()}
        return {name: means.get(name, np.zeros_like(array)) for name, array in self._own.items()}
