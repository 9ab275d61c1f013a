"""No adversary: one forward pass, one backward pass."""

from __future__ import annotations

from torch import Tensor, nn

from emr_fl_client.adversarial.method import StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import logits_of
from emr_fl_client.training.losses import MultiLabelLoss


class Plain:
    """Ordinary training."""

    name = "none"

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate the gradient of the mean loss; see `AdversarialMethod`."""
        with context.precision.autocast():
            logits = logits_of(model, batch)
        losses = loss.per_record(logits, batch.targets)
        context.scale(losses.mean()).backward()  # type: ignore[no-untyped-call]
        return losses.detach()
