"""FedAdagrad, FedAdam and FedYogi: a step size of its own for every weight, on the server.

Reddi et al., Adaptive Federated Optimization, ICLR 2021, Algorithm 2:

    Δ_t = β₁ Δ_{t−1} + (1 − β₁) (1/|S|) Σ_i Δ_t^i
    v_t = v_{t−1} + Δ_t²                                          FedAdagrad
    v_t = v_{t−1} − (1 − β₂) Δ_t² sign(v_{t−1} − Δ_t²)            FedYogi
    v_t = β₂ v_{t−1} + (1 − β₂) Δ_t²                              FedAdam
    x_{t+1} = x_t + η Δ_t / (√v_t + τ)

| symbol | here |
|---|---|
| x_t | `model` |
| (1/|S|) Σ_i Δ_t^i | `mean` |
| Δ_t | `kept["momentum"]`, 0 before the first round |
| v_t | `kept["second_moment"]`, τ² before the first round |
| η, β₁, β₂, τ | `learning_rate`, `beta1`, `beta2`, `tau` |

Deviations: the mean is weighted, and label rows may be averaged over the sites that have the label (`mean.py`); rows that no site held
stay, moments included (`strategy.py`). As in the paper, no correction of the bias of the moments, which Flower's FedAdam adds.
A weight moves by about η a round whatever the size of its difference, down to differences of τ: η belongs to the scale of what a
round of local training moves, not to that of the local learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from emr_fl_server.aggregation.strategy import Tensors
from emr_fl_shared.payload import Float32

MOMENTUM, SECOND = "momentum", "second_moment"
Rule = Literal["adagrad", "yogi", "adam"]


@dataclass(frozen=True)
class Adaptive:
    """`rule` says how the second moment follows the first; FedAdagrad makes no use of `beta2`."""

    rule: Rule
    learning_rate: float
    beta1: float
    beta2: float
    tau: float
    kinds: tuple[str, ...] = (MOMENTUM, SECOND)
    sent: tuple[str, ...] = ()

    def start(self, kind: str, model: Float32) -> Float32:
        return np.zeros_like(model) if kind == MOMENTUM else np.full_like(model, self.tau**2)

    def step(self, model: Float32, mean: Float32, kept: Tensors, sent: Tensors) -> tuple[Float32, Tensors]:
        beta1 = np.float32(self.beta1)
        momentum = np.asarray(beta1 * kept[MOMENTUM] + (1 - beta1) * mean, dtype=np.float32)
        second = self._second(kept[SECOND], np.square(momentum))
        step = np.float32(self.learning_rate) * momentum / (np.sqrt(second) + np.float32(self.tau))
        return np.asarray(model + step, dtype=np.float32), {MOMENTUM: momentum, SECOND: second}

    def _second(self, before: Float32, square: Float32) -> Float32:
        beta2 = np.float32(self.beta2)
        if self.rule == "adagrad":
            after = before + square
        elif self.rule == "yogi":
            after = before - (1 - beta2) * square * np.sign(before - square)
        else:
            after = beta2 * before + (1 - beta2) * square
        return np.asarray(after, dtype=np.float32)
