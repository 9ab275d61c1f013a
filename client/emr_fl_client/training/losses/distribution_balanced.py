"""`distribution_balanced`: Wu, Huang, Liu, Wang, Lin, *Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed
Datasets*, ECCV 2020, eq. 2 to 4 (rebalanced weighting) and 6 to 8 (negative-tolerant regularisation).

    r_k = (1/n_k) / Σ_j y_j/n_j                      how often label k would be drawn, against how often the record is
    r̂_k = α + σ(β (r_k − μ))
    ν_k = κ log(1/π_k − 1)
    r̂_k [y_k log(1 + e^−(z_k − ν_k)) + (1/λ)(1 − y_k) log(1 + e^{λ(z_k − ν_k)})]

    z → `logits`    y → `targets` (in r: `labels`)    n_k, π_k → `frequencies.counts`, `.prior`
    α → `weight_floor`    β → `weight_slope`    μ → `weight_centre`    λ → `negative_scale`    κ → `bias_scale`

A record drawn for a rare label brings the common ones with it: their weight falls. λ > 1 lets a label that is not there stop pulling
sooner, ν_k asks more of the rare. Defaults are the authors' for COCO. With α = 1/2, β = 0, κ = 0, λ = 1 it is BCE.

Deviations: the paper draws records label by label, each label alike, which is `training.balance = 1` for records of one label; any
balance works with it, and π_k is the prior that was drawn, not the site's. The authors' code divides ν by λ and can multiply by 2
(1 − p_t)²; neither is done here. The mean over labels is a sum unless `reduction` says otherwise. A record without labels has r̂ = α + 1,
the limit for Σ y/n → 0.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.settings import LossSettings

_TINY = 1e-12


class DistributionBalanced:
    """BCE with a weight for each label of each record, and with negatives that tolerate more."""

    name = "distribution_balanced"

    def __init__(self, settings: LossSettings, frequencies: LabelFrequencies | None) -> None:
        if frequencies is None:
            raise ValueError("distribution_balanced needs the frequencies of the labels")
        if not settings.negative_scale > 0.0:
            raise ValueError(f"negative_scale must be above 0, got {settings.negative_scale}")
        self.floor, self.slope, self.centre = (
            settings.weight_floor,
            settings.weight_slope,
            settings.weight_centre,
        )
        self.scale = settings.negative_scale
        self.inverse = 1.0 / frequencies.counts
        self.shift = -settings.bias_scale * frequencies.prior.logit()

    def __call__(self, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """See `ElementwiseLoss`."""
        shifted = logits - self.shift.to(logits)
        positive = targets * F.softplus(-shifted)
        negative = (1.0 - targets) * F.softplus(self.scale * shifted) / self.scale
        return self.weights(labels).to(logits) * (positive + negative)

    def weights(self, labels: Tensor) -> Tensor:
        """r̂ for labels [B, K] in [0, 1], which may be mixed: float64 [B, K]."""
        inverse = self.inverse.to(labels.device)
        drawn = (labels.double() @ inverse).clamp(min=_TINY)
        return self.floor + (self.slope * (inverse / drawn[:, None] - self.centre)).sigmoid()
