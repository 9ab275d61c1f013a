"""SMART: Jiang, He, Chen, Liu, Gao, Zhao, *SMART: Robust and Efficient Fine-Tuning for Pre-trained Natural Language Models
through Principled Regularized Optimization*, ACL 2020, sections 3.1 and 3.2, Algorithm 1.

    min_θ L(θ) + λ_s·R_s(θ) + μ·D_Breg(θ, θ̃)
    R_s = 1/n Σ max_{‖x̃ − x‖ ≤ ε} ℓ_s(f(x̃; θ), f(x; θ))        smoothness-inducing
    D_Breg = 1/n Σ ℓ_s(f(x; θ), f(x; θ̃))                        Bregman proximal point
    ℓ_s(P, Q) = KL(P‖Q) + KL(Q‖P)

Symbols and their names here:

    x          embedded notes                              `embed(...)` [B, L, H]
    σ          x̃ starts at N(x, σ²I)                       `start` (× the note's root mean square if `relative`)
    T_x̃        ascent steps                                `steps`; published: 1
    η          their size: x̃ ← Π(x̃ + η·g / ‖g‖)           `step_size` (× the note's norm if `relative`)
    ε          radius of the ball                          `radius` (× the note's norm if `relative`)
    λ_s, μ     weights                                     `regularisation`, `bregman`; published: 1 to 5, and 1
    θ̃          teacher                                     `Teacher`
    β          θ̃ ← (1 − β)·θ + β·θ̃ after S steps           `momentum`; published: 0.99, later 0.999
    S          steps of one proximal problem               `teacher_every`; published: 1
    ℓ_s        symmetric KL of K Bernoulli distributions   `symmetric_kl`, reduced as the loss is

With `momentum` 0 the teacher is the weights of `teacher_every` steps ago at most (the vanilla proximal point method).

Deviations: several labels, so ℓ_s is the sum over K; labels that the site lacks are left out; `relative` sizes (see `freelb`);
x̃ = x on pads; `norm` may be `l2` (published: `linf`); f(x; θ), f(x̃; θ) and f(x; θ̃) share one dropout mask, so that ℓ_s measures
the perturbation or the weights and not the dropout. A round starts with θ̃ = the weights that the server sent: between rounds a
site keeps no weights. `top_loss` s < 1: R_s is taken over the ⌈s·B⌉ notes with the highest loss, each with its weight 1/B;
f(x; θ) is computed once more for them. With `every` > 1 the teacher moves on the method's steps only.
"""

from __future__ import annotations

from torch import Tensor, nn

from emr_fl_client.adversarial.divergence import symmetric_kl
from emr_fl_client.adversarial.dropout import DropoutState
from emr_fl_client.adversarial.method import AdversarialSettings, OnEmbeddings, StepContext
from emr_fl_client.adversarial.passes import accumulate, forward, gradient_of, hardest, subset
from emr_fl_client.adversarial.perturbation import ascend, gaussian, note_norm, project
from emr_fl_client.adversarial.teacher import Teacher
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed
from emr_fl_client.training.losses import MultiLabelLoss


class SMART(OnEmbeddings):
    """The loss, smoothness around each note, and nearness to earlier weights; see the module's docstring."""

    name = "smart"

    def __init__(self, settings: AdversarialSettings) -> None:
        super().__init__(settings)
        self._teacher = Teacher(settings.momentum, settings.teacher_every)

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate SMART's gradients; see `AdversarialMethod`."""
        settings, count = self.settings, len(batch.targets)
        dropout = DropoutState.capture(batch.input_ids.device)
        reference = forward(model, batch, None, context)
        losses = loss.per_record(reference, batch.targets)
        first, total = losses.detach(), losses.mean()
        if settings.bregman:
            if context.part == 0:
                self._teacher.advance(model)
            dropout.restore()
            earlier = self._teacher.logits(model, batch, context)
            total = total + settings.bregman * loss.reduce(symmetric_kl(reference, earlier)).mean()
        if settings.regularisation == 0.0:
            accumulate(total, context)
            return first
        chosen = hardest(first, settings.top_loss)
        if len(chosen) < count:
            accumulate(total, context)
            batch = subset(batch, chosen)
            dropout.restore()
            reference = forward(model, batch, None, context)
            total = total.new_zeros(())

        delta = self._disturb(model, batch, reference.detach(), loss, context, dropout)
        dropout.restore()
        disturbed = forward(model, batch, embed(model, batch) + delta, context)
        smoothness = loss.reduce(symmetric_kl(reference, disturbed)).sum() / count
        accumulate(total + settings.regularisation * smoothness, context)
        return first

    def _disturb(
        self,
        model: nn.Module,
        batch: Batch,
        reference: Tensor,
        loss: MultiLabelLoss,
        context: StepContext,
        dropout: DropoutState,
    ) -> Tensor:
        """x̃ − x [B, L, H], detached; `reference` is f(x; θ)."""
        settings, mask = self.settings, batch.attention_mask
        still = embed(model, batch).detach()
        size = note_norm(still, mask, settings.norm, settings.relative)
        spread = note_norm(still, mask, "linf", settings.relative) * settings.start
        radius, step = size * settings.radius, size * settings.ascent
        drawn = gaussian(still, mask, context.generator) * spread[:, None, None]
        delta = project(drawn, radius, settings.norm)
        for _ in range(settings.steps):
            dropout.restore()
            delta.requires_grad_()
            disturbed = forward(model, batch, still + delta, context)
            gradient = gradient_of(loss.reduce(symmetric_kl(reference, disturbed)).mean(), delta, context)
            delta = ascend(delta.detach(), gradient, step, radius, settings.norm, mask)
        return delta
