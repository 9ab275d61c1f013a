"""The training loss of a site: the chosen loss, label smoothing, and the mask of labels that the site does not have."""

from __future__ import annotations

from torch import Tensor

from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.registry import build_loss
from emr_fl_client.training.losses.settings import LossSettings
from emr_fl_client.training.losses.smoothing import smooth


class MultiLabelLoss:
    """The training loss of a site.

    `label_mask` (bool [K], on the logits' device) is true for the labels that the site has at least once. The others contribute
    neither loss nor gradient: that a site never saw a label says what its departments are, not what its patients lack.
    `frequencies` of all K labels are needed by the losses that are made from them (see `LossSettings.kind`).

    Raises:
        ValueError: the mask leaves no label, or the loss needs frequencies and there are none.
    """

    def __init__(
        self,
        settings: LossSettings | None = None,
        label_mask: Tensor | None = None,
        frequencies: LabelFrequencies | None = None,
    ) -> None:
        self.settings = settings or LossSettings()
        if label_mask is not None and not bool(label_mask.any()):
            raise ValueError("label_mask leaves no label to train on")
        self._mask = None if label_mask is None else label_mask.bool()
        if frequencies is not None and self._mask is not None:
            frequencies = frequencies.of_labels(self._mask)
        self._loss = build_loss(self.settings, frequencies)

    def per_record(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each record, float32 [B], from logits of any float type [B, K] and targets [B, K]."""
        settings = self.settings
        logits, labels = logits.float(), targets.float()
        if self._mask is not None:
            logits, labels = logits[:, self._mask], labels[:, self._mask]
        targets = smooth(labels, settings.label_smoothing) if settings.label_smoothing else labels
        total = self._loss(logits, targets, labels)
        return total.sum(dim=1) if settings.reduction == "label_sum" else total.mean(dim=1)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the batch, a float32 scalar."""
        return self.per_record(logits, targets).mean()
