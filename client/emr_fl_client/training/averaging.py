"""The mean of a site's weights along the steps of one round, in place of the last ones.

* `ema`: θ̄_T = (1 − d) / (1 − d^T) Σ_t d^{T−t} θ_t. Exponential average (Polyak & Juditsky, *Acceleration of Stochastic Approximation by
  Averaging*, 1992, with forgetting), d → `decay`, divided by the sum of its weights as Adam does (Kingma & Ba, ICLR 2015, §3): a round has
  few steps, and without that its first step would keep d^{T−1} of the weight. The received weights have no share.
* `swa`: the plain mean of the weights after the steps beyond `start` × T. Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, *Averaging Weights
  Leads to Wider Optima and Better Generalization*, UAI 2018, Algorithm 1. Deviations: every step is averaged (c = 1 step, not an epoch), and
  the learning rate follows the federation's schedule.

Both are post-processing: the path of training does not change. One copy of the parameters is held. (torch's `AveragedModel` copies the whole
module, and its exponential average is not divided.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["none", "ema", "swa"]


@dataclass(frozen=True, slots=True)
class AveragingSettings:
    """`kind` none, ema or swa; `decay` of ema in [0, 1); `start` of swa in [0, 1), a share of the round's steps."""

    kind: Kind = "none"
    decay: float = 0.95
    start: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("none", "ema", "swa"):
            raise ValueError(f"kind must be none, ema or swa, got {self.kind!r}")
        if not (0.0 <= self.decay < 1.0 and 0.0 <= self.start < 1.0):
            raise ValueError(f"decay and start must be in [0, 1), got {self.decay} and {self.start}")


class WeightAverage:
    """The running mean over one round of `steps` steps; nothing at all with `kind` none."""

    def __init__(self, model: nn.Module, settings: AveragingSettings, steps: int) -> None:
        self._settings, self._steps = settings, steps
        self._parameters = (
            [] if settings.kind == "none" else [p for p in model.parameters() if p.requires_grad]
        )
        self._means: list[Tensor] = []
        self._taken = 0

    @torch.no_grad()
    def take(self, step: int) -> None:
        """Let the weights after step `step` (1 … steps) take part."""
        settings = self._settings
        if not self._parameters or (settings.kind == "swa" and step <= settings.start * self._steps):
            return
        self._taken += 1
        if not self._means:
            self._means = [parameter.detach().clone() for parameter in self._parameters]
            return
        if settings.kind == "ema":
            weight = (1.0 - settings.decay) / (1.0 - settings.decay**self._taken)
        else:
            weight = 1.0 / self._taken
        for mean, parameter in zip(self._means, self._parameters, strict=True):
            mean.lerp_(parameter, weight)

    @torch.no_grad()
    def put(self) -> None:
        """The mean becomes the model's weights; nothing happens where none was taken."""
        for mean, parameter in zip(self._means, self._parameters, strict=False):
            parameter.copy_(mean)
