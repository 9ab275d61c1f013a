"""PGD: Madry, Makelov, Schmidt, Tsipras, Vladu, *Towards Deep Learning Models Resistant to Adversarial Attacks*, ICLR 2018,
equation 2.1 and section 2.1.

    min_θ E[ max_{δ ∈ S} L(θ, x + δ, y) ]
    x^{t+1} = Π_{x + S}( x^t + α·sgn(∇_x L(θ, x, y)) )

Symbols and their names here:

    x, y     embedded notes and labels        `embed(...)` [B, L, H], `batch.targets`
    S, ε     the ball and its radius          `radius` (× the note's norm if `relative`), one ball a note
    α        size of a step                   `step_size` (× the note's norm if `relative`)
    Π        projection                       `project`
             number of steps                  `steps`

K passes give δ and nothing to the parameters; the gradient of the parameters is that of one more pass at x + δ_K.
Start: U(−ε, ε) for `linf`; for `l2`, of which the paper gives no start, that of FreeLB. For `l2` a step goes along g / ‖g‖₂.

Deviations: `relative` radii (see `freelb`); δ = 0 on pads; the same dropout masks in all passes. `weight` w < 1
(published: 1) adds a clean pass: (1 − w)·L(x) + w·L(x + δ_K). `top_loss` s < 1: after a clean pass only the ⌈s·B⌉ notes with
the highest loss are disturbed; the others weigh 1 in the clean pass.
"""

from __future__ import annotations

from torch import Tensor, nn

from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import OnEmbeddings, StepContext
from emr_fl_client.adversarial.passes import (
    accumulate,
    clean_weights,
    gradient_of,
    hardest,
    record_losses,
    subset,
)
from emr_fl_client.adversarial.perturbation import ascend, initial_perturbation, note_norm
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed
from emr_fl_client.training.losses import MultiLabelLoss


class PGD(OnEmbeddings):
    """K projected steps and one adversarial pass; see the module's docstring."""

    name = "pgd"

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate PGD's gradients; see `AdversarialMethod`."""
        settings, count = self.settings, len(batch.targets)
        dropout = DropoutState.capture(batch.input_ids.device)
        first: Tensor | None = None
        if settings.weight < 1.0 or settings.top_loss < 1.0:
            losses = record_losses(model, batch, None, loss, context)
            first = losses.detach()
            chosen = hardest(first, settings.top_loss)
            accumulate((clean_weights(first, chosen, settings.weight) * losses).sum(), context)
            if settings.weight == 0.0:
                return first
            batch = subset(batch, chosen)

        mask = batch.attention_mask
        still = embed(model, batch).detach()
        size = note_norm(still, mask, settings.norm, settings.relative)
        radius, step = size * settings.radius, size * settings.ascent
        delta = initial_perturbation(still, mask, radius, settings.norm, context.generator)
        for _ in range(settings.steps):
            dropout.restore()
            delta.requires_grad_()
            losses = record_losses(model, batch, still + delta, loss, context)
            if first is None:
                first = losses.detach()
            gradient = gradient_of(losses.mean(), delta, context)
            delta = ascend(delta.detach(), gradient, step, radius, settings.norm, mask, sign=True)
        dropout.restore()
        losses = record_losses(model, batch, embed(model, batch) + delta, loss, context)
        accumulate((losses * (settings.weight / count)).sum(), context)
        assert first is not None
        return first
