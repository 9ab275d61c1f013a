"""`asymmetric`: Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter, Zelnik-Manor, *Asymmetric Loss For Multi-Label
Classification*, ICCV 2021, eq. 4, 5 and 7.

    −[y (1 − p)^γ₊ log p + (1 − y) p_m^γ₋ log(1 − p_m)],   p = σ(z),   p_m = max(p − m, 0)

    z → `logits`    y → `targets`    γ₊ → `gamma_positive`    γ₋ → `gamma_negative`    m → `margin`

A negative with p ≤ m has neither loss nor gradient; one that the model is sure of (p → 1) loses its gradient, too, because
it is probably a missing label (§3.2 of the paper). With m > 0 the loss of a negative is at most −log m.

Stable: 1 − p_m = (1 − p) + m is computed as logaddexp(logsigmoid(−z), log m), and for m = 0 everything from logsigmoid. With
γ₊ = γ₋ = 0 and m = 0 it is BCE; with γ₊ = γ₋ and m = 0 twice the focal loss at α = 1/2.

Deviations: soft targets mix both terms linearly; the focusing factors take part in the gradient, as in the paper's equations (the
authors' code can hold them fixed).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.settings import LossSettings


class Asymmetric:
    """Positives and negatives focused differently, easy negatives dropped."""

    name = "asymmetric"

    def __init__(self, settings: LossSettings, frequencies: LabelFrequencies | None) -> None:
        if not 0.0 <= settings.margin < 1.0:
            raise ValueError(f"margin must be in [0, 1), got {settings.margin}")
        self.gamma_positive, self.gamma_negative = settings.gamma_positive, settings.gamma_negative
        self.margin = settings.margin

    def __call__(self, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """See `ElementwiseLoss`."""
        log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
        positive = (self.gamma_positive * log_q).exp() * log_p
        negative = (
            self._shifted(logits, log_q) if self.margin else (self.gamma_negative * log_p).exp() * log_q
        )
        return -(targets * positive + (1.0 - targets) * negative)

    def _shifted(self, logits: Tensor, log_q: Tensor) -> Tensor:
        """p_m^γ₋ log(1 − p_m) for m > 0."""
        above = logits.sigmoid() - self.margin
        counts = above > 0.0
        # the other elements get a harmless value first: a power of 0 has no finite gradient, and 0 × NaN is NaN
        shifted = torch.where(counts, above, 0.5)
        log_left = torch.logaddexp(log_q, log_q.new_tensor(math.log(self.margin)))
        return torch.where(counts, (self.gamma_negative * shifted.log()).exp() * log_left, 0.0)
