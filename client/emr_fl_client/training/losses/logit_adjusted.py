"""`logit_adjusted`: Menon, Jayasumana, Rawat, Jain, Veit, Kumar, *Long-tail learning via logit adjustment*, ICLR 2021, eq. 10.

    BCE(σ(z_k + τ log(π_k / (1 − π_k))), y_k)        z → `logits`, y → `targets`, π_k → `frequencies.prior`, τ → `tau`

Added while training and left out afterwards, so that the model's own logits are those of a world where each label is as often there as
not; the decision rule, fitted on validation, finds its way from there. τ = 0 is BCE.

Deviation: the paper adjusts a softmax over K exclusive classes by τ log π_y. A label with a sigmoid is a softmax over {no, yes} with logits
(0, z_k) and priors (1 − π_k, π_k), for which the paper's rule gives the log-odds above.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.settings import LossSettings


class LogitAdjusted:
    """BCE on logits to which the log-odds of each label's prior were added."""

    name = "logit_adjusted"

    def __init__(self, settings: LossSettings, frequencies: LabelFrequencies | None) -> None:
        if frequencies is None:
            raise ValueError("logit_adjusted needs the frequencies of the labels")
        self.offset = settings.tau * frequencies.prior.logit()

    def __call__(self, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """See `ElementwiseLoss`."""
        return F.binary_cross_entropy_with_logits(logits + self.offset.to(logits), targets, reduction="none")
