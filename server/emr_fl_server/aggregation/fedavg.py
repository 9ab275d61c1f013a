"""FedAvg: the next model is the last one plus the mean difference.

McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017, Algorithm 1:

    w_{t+1} = Σ_k (n_k / n) w^k_{t+1} = w_t + Σ_k (n_k / n) Δ^k

| symbol | here |
|---|---|
| w_t | `model` |
| Σ_k (n_k / n) Δ^k | `mean`, by `mean.py`, whose deviations are those of every strategy |

FedProx (Li et al., MLSys 2020) averages in the same way; what is its own is at the site.
"""

from __future__ import annotations

from dataclasses import dataclass

from emr_fl_server.aggregation.strategy import Tensors
from emr_fl_shared.payload import Float32


@dataclass(frozen=True)
class FedAvg:
    """Keeps nothing from round to round."""

    kinds: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()

    def start(self, kind: str, model: Float32) -> Float32:
        raise KeyError(kind)

    def step(self, model: Float32, mean: Float32, kept: Tensors, sent: Tensors) -> tuple[Float32, Tensors]:
        mean += model
        return mean, {}
