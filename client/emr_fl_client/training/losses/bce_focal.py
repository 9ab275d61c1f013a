"""`bce_focal`: λ_bce·BCE + λ_fl·Focal, the loss of the paper that emr-fl follows.

λ_bce → `bce`    λ_fl → `focal`    γ → `gamma`    α → `alpha`, a number or "balanced" with `alpha_exponent` (see `focal.py`)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from emr_fl_client.training.losses.focal import balanced_alpha, focal_with_logits
from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.settings import LossSettings


class BceFocal:
    """BCE and focal loss, weighted."""

    name = "bce_focal"

    def __init__(self, settings: LossSettings, frequencies: LabelFrequencies | None) -> None:
        self.bce, self.focal, self.gamma = settings.bce, settings.focal, settings.gamma
        self.alpha: float | Tensor
        if settings.alpha == "balanced":
            if frequencies is None:
                raise ValueError("alpha = balanced needs the frequencies of the labels")
            self.alpha = balanced_alpha(frequencies.prior, settings.alpha_exponent)
        else:
            self.alpha = settings.alpha

    def __call__(self, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """See `ElementwiseLoss`."""
        total = logits.new_zeros(logits.shape)
        if self.bce:
            bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            total = total + self.bce * bce
        if self.focal:
            alpha = self.alpha.to(logits) if isinstance(self.alpha, Tensor) else self.alpha
            total = total + self.focal * focal_with_logits(logits, targets, gamma=self.gamma, alpha=alpha)
        return total
