"""The settings of every loss, and what a loss is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Reduction = Literal["label_sum", "label_mean"]


class ElementwiseLoss(Protocol):
    """One loss: the loss of each label of each record, by itself."""

    def __call__(self, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Loss, float [B, K] of the logits' type. `targets` in [0, 1] [B, K] may be soft; `labels` are the same before label
        smoothing, for a loss that asks which labels a record has."""
        ...


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Which loss, its parameters, label smoothing, weight of the chapters' loss, and how the labels of a record are reduced.

    The parameters are explained where the loss is (`bce_focal`, `asymmetric`, `distribution_balanced`, `logit_adjusted`); those of
    the losses that were not chosen have no effect.

    `reduction`: `label_sum` adds the losses of a record's labels, so the gradient with respect to one logit does not depend
    on how many labels there are or are masked; `label_mean` divides by the number of labels that are not masked.
    """

    kind: str = "bce_focal"
    bce: float = 1.0
    focal: float = 1.0
    gamma: float = 2.0
    alpha: float | Literal["balanced"] = 0.5
    alpha_exponent: float = 0.5
    gamma_positive: float = 0.0
    gamma_negative: float = 4.0
    margin: float = 0.05
    weight_floor: float = 0.1
    weight_slope: float = 10.0
    weight_centre: float = 0.2
    negative_scale: float = 2.0
    bias_scale: float = 0.05
    tau: float = 1.0
    label_smoothing: float = 0.0
    coarse: float = 0.0
    reduction: Reduction = "label_sum"
