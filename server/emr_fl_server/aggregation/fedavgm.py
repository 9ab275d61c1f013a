"""FedAvgM: momentum on the server.

Hsu, Qi, Brown, Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019, §4.3:

    v ← β v + Δw,   w ← w − v,   Δw = Σ_k (n_k / n) Δw_k

| symbol | here |
|---|---|
| Δw | −`mean` (theirs is last model minus new one, ours new minus last) |
| v | −`kept["momentum"]`, 0 before the first round |
| β | `momentum` |
| 1 | `learning_rate` |

Deviations: a learning rate of the server, which theirs fixes at 1 (as Reddi et al., ICLR 2021, have it); rows of labels that no
site held stay, momentum included (`strategy.py`). The momentum is the plain one, not Nesterov's, which they also name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emr_fl_server.aggregation.strategy import Tensors
from emr_fl_shared.payload import Float32

MOMENTUM = "momentum"


@dataclass(frozen=True)
class FedAvgM:
    """`momentum` 0 and `learning_rate` 1 are FedAvg."""

    learning_rate: float
    momentum: float
    kinds: tuple[str, ...] = (MOMENTUM,)
    sent: tuple[str, ...] = ()

    def start(self, kind: str, model: Float32) -> Float32:
        return np.zeros_like(model)

    def step(self, model: Float32, mean: Float32, kept: Tensors, sent: Tensors) -> tuple[Float32, Tensors]:
        momentum = np.asarray(np.float32(self.momentum) * kept[MOMENTUM] + mean, dtype=np.float32)
        after = np.asarray(np.float32(self.learning_rate) * momentum + model, dtype=np.float32)
        return after, {MOMENTUM: momentum}
