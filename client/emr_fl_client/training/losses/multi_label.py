"""The training loss of a site: the chosen loss, label smoothing, chapters, and the mask of labels that the site does not have."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from emr_fl_client.training.losses.chapters import ChapterLoss
from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.registry import build_loss
from emr_fl_client.training.losses.settings import LossSettings
from emr_fl_client.training.losses.smoothing import smooth


class MultiLabelLoss:
    """The training loss of a site.

    `label_mask` (bool [K], on the logits' device) is true for the labels that the site has at least once. The others contribute
    neither loss nor gradient: that a site never saw a label says what its departments are, not what its patients lack.
    `frequencies` of all K labels are needed by the losses that are made from them (see `LossSettings.kind`), `chapters` (one a
    label, "" for none) by `LossSettings.coarse`.

    Raises:
        ValueError: the mask leaves no label, or the loss needs frequencies or chapters and there are none.
    """

    def __init__(
        self,
        settings: LossSettings | None = None,
        label_mask: Tensor | None = None,
        frequencies: LabelFrequencies | None = None,
        chapters: Sequence[str] | None = None,
    ) -> None:
        self.settings = settings or LossSettings()
        if label_mask is not None and not bool(label_mask.any()):
            raise ValueError("label_mask leaves no label to train on")
        self._mask = None if label_mask is None else label_mask.bool()
        if frequencies is not None and self._mask is not None:
            frequencies = frequencies.of_labels(self._mask)
        self._loss = build_loss(self.settings, frequencies)
        self._chapters: ChapterLoss | None = None
        if self.settings.coarse:
            if chapters is None:
                raise ValueError("coarse needs the chapters of the labels")
            present = [True] * len(chapters) if self._mask is None else self._mask.tolist()
            self._chapters = ChapterLoss(
                [chapter for chapter, here in zip(chapters, present, strict=True) if here]
            )

    def per_record(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of each record, float32 [B], from logits of any float type [B, K] and targets [B, K]."""
        settings = self.settings
        logits, labels = logits.float(), targets.float()
        if self._mask is not None:
            logits, labels = logits[:, self._mask], labels[:, self._mask]
        targets = smooth(labels, settings.label_smoothing) if settings.label_smoothing else labels
        total = self._reduced(self._loss(logits, targets, labels))
        if self._chapters is not None and len(self._chapters.members):
            chapters = self._chapters(logits, labels, settings.label_smoothing)
            total = total + settings.coarse * self._reduced(chapters)
        return total

    def reduce(self, by_label: Tensor) -> Tensor:
        """Any other term of the loss, elementwise [B, K], as one value a record, [B]: the same labels, reduced alike."""
        return self._reduced(by_label if self._mask is None else by_label[:, self._mask])

    def _reduced(self, losses: Tensor) -> Tensor:
        return losses.sum(dim=1) if self.settings.reduction == "label_sum" else losses.mean(dim=1)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of the batch, a float32 scalar."""
        return self.per_record(logits, targets).mean()
