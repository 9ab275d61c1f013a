"""λ_bce·BCE + λ_fl·Focal over K independent sigmoids, computed from logits.

Focal loss: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, in its multi-label form

    −[α (1 − p)^γ y log p + (1 − α) p^γ (1 − y) log(1 − p)],   p = σ(z)

with log p = logsigmoid(z), log(1 − p) = logsigmoid(−z), p^γ = exp(γ logsigmoid(z)): value and gradient stay
finite for any finite logit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["label_sum", "label_mean"]


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Weights of the two losses, focal γ and α, label smoothing, and how the labels of a record are reduced.

    `reduction`: `label_sum` adds the losses of a record's labels, so the gradient with respect to one logit does not depend
    on how many labels there are or are masked; `label_mean` divides by the number of labels that are not masked.
    """

    bce: float = 1.0
    focal: float = 1.0
    gamma: float = 2.0
    alpha: float = 0.5
    label_smoothing: float = 0.0
    reduction: Reduction = "label_sum"


def focal_with_logits(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """Elementwise focal loss, same shape as `logits`; `targets` may be soft."""
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = alpha * (gamma * log_q).exp() * targets * log_p
    negative = (1.0 - alpha) * (gamma * log_p).exp() * (1.0 - targets) * log_q
    return -(positive + negative)


class MultiLabelLoss:
    """The training loss of a site.

    `label_mask` (bool [K], on the logits' device) is true for the labels that the site has at least once. The others contribute
    neither loss nor gradient: that a site never saw a label says what its departments are, not what its patients lack.
    """

    def __init__(self, settings: LossSettings | None = None, label_mask: Tensor | None = None) -> None:
        self.settings = settings or LossSettings()
        if label_mask is not None and not bool(label_mask.any()):
            raise ValueError("label_mask leaves no label to train on")
        self._mask = None if label_mask is None else label_mask.bool()

    def per_record(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each record, float32 [B], from logits of any float type [B, K] and targets [B, K]."""
        settings = self.settings
        logits, targets = logits.float(), targets.float()
        if self._mask is not None:
            logits, targets = logits[:, self._mask], targets[:, self._mask]
        if settings.label_smoothing:
            targets = targets * (1.0 - settings.label_smoothing) + 0.5 * settings.label_smoothing
        total = logits.new_zeros(logits.shape)
        if settings.bce:
            bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            total = total + settings.bce * bce
        if settings.focal:
            focal = focal_with_logits(logits, targets, gamma=settings.gamma, alpha=settings.alpha)
            total = total + settings.focal * focal
        return total.sum(dim=1) if settings.reduction == "label_sum" else total.mean(dim=1)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the batch, a float32 scalar."""
        return self.per_record(logits, targets).mean()
