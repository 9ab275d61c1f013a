"""SCAFFOLD at the server: the mean of the sites' control variates.

Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML 2020, Algorithm 1:

    x ← x + η_g (1/|S|) Σ_{i∈S} (y_i − x),   c ← c + (|S|/N) (1/|S|) Σ_{i∈S} (c_i⁺ − c_i)

| symbol | here |
|---|---|
| x, η_g | `model`, `learning_rate` |
| (1/|S|) Σ (y_i − x) | `mean` |
| c | `kept["control"]`, 0 before the first round |
| (1/|S|) Σ c_i⁺ | `sent["control"]` |
| |S|/N | `participation` |

Deviations:

- A site sends c_i⁺ and not its change, and c ← (1 − |S|/N) c + (|S|/N) (1/|S|) Σ c_i⁺. With all sites in every round this is the same.
  With some away it puts c for their c_i, which is its mean; in return, what was lost on the way does not stay in c for ever.
- Both means are weighted alike, and a label's row is averaged over the sites that have it in both (`mean.py`), so that the corrections
  c − c_i of the sites that train a weight cancel in its mean. Rows that no site held stay (`strategy.py`).
- N is the number of sites known by name (`Federation.expected_sites`).

What a site does with c is in `emr_fl_client.training.scaffold`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emr_fl_server.aggregation.strategy import Tensors
from emr_fl_shared.payload import CONTROL, Float32


@dataclass(frozen=True)
class Scaffold:
    """`participation`: the share of all sites whose updates this round has, in (0, 1]."""

    learning_rate: float
    participation: float
    kinds: tuple[str, ...] = (CONTROL,)
    sent: tuple[str, ...] = (CONTROL,)

    def start(self, kind: str, model: Float32) -> Float32:
        return np.zeros_like(model)

    def step(self, model: Float32, mean: Float32, kept: Tensors, sent: Tensors) -> tuple[Float32, Tensors]:
        share = np.float32(self.participation)
        control = np.asarray((1 - share) * kept[CONTROL] + share * sent[CONTROL], dtype=np.float32)
        after = np.asarray(np.float32(self.learning_rate) * mean + model, dtype=np.float32)
        return after, {CONTROL: control}
