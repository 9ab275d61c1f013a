"""An exponential moving average of the global models: evaluated and saved in their place, while training goes on from the last one.

Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM J. Control Optim. 1992; in its exponential form
corrected for its start as in Kingma & Ba, Adam, ICLR 2015, §3:

    a_t = Σ_{s=1..t} d^{t−s} w_s / Σ_{s=1..t} d^{t−s},   as   a_t = a_{t−1} + (1 − d)/(1 − d^t) (w_t − a_{t−1})

| symbol | here |
|---|---|
| w_t | `model`, the global model after round t |
| a_{t−1} | `average` |
| d, t | `decay`, `rounds` |

The initial weights have no part in it: a_1 = w_1.
"""

from __future__ import annotations

import numpy as np

from emr_fl_server.aggregation.strategy import Tensors
from emr_fl_shared.payload import Float32

AVERAGE = "average"


def moving_average(
    average: Tensors | None, model: Tensors, *, decay: float, rounds: int
) -> dict[str, Float32]:
    """The average after round `rounds` ≥ 1, new fp32 arrays; `average` is that of the round before, `None` in the first."""
    if average is None or rounds == 1:
        return {name: tensor.copy() for name, tensor in model.items()}
    share = np.float32((1 - decay) / (1 - decay**rounds))
    return {
        name: np.asarray(average[name] + share * (tensor - average[name]), dtype=np.float32)
        for name, tensor in model.items()
    }
