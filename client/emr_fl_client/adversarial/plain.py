"""No adversary: one forward pass, one backward pass."""

from __future__ import annotations

from torch import Tensor, nn

from emr_fl_client.adversarial.method import AdversarialSettings, StepContext
from emr_fl_client.adversarial.passes import accumulate, record_losses
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss


class Plain:
    """Ordinary training."""

    name = "none"
    per_record = True

    def __init__(self, settings: AdversarialSettings | None = None) -> None:
        self.settings = settings or AdversarialSettings()

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate the gradient of the mean loss; see `AdversarialMethod`."""
        losses = record_losses(model, batch, None, loss, context)
        accumulate(losses.mean(), context)
        return losses.detach()
