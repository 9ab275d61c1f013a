"""One step of training: gradients by the adversarial method, unscale, clip, move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.method import AdversarialMethod, StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.precision import Precision


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """AdamW (Loshchilov & Hutter, ICLR 2019). `clip_norm` bounds the norm of the whole gradient."""

    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float = 1.0


def build_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.AdamW:
    """AdamW without decay on biases and normalisation weights (every parameter with one dimension)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=all(p.device.type in {"cpu", "cuda"} for p in parameters),
    )


class GradientTerm(Protocol):
    """What a federated method adds to the gradient of the loss (FedProx, SCAFFOLD)."""

    def adjust(self) -> None:
        """Change the parameters' gradients in place; called once a step, on the true gradient, before it is clipped."""
        ...


class TrainingStep:
    """Model, optimiser and scaler of one round; `terms` are added to the gradient in their order.

    `micro_batch`: most records a forward pass; a larger batch is cut into parts whose gradients are accumulated.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: MultiLabelLoss,
        settings: OptimiserSettings,
        precision: Precision,
        generator: torch.Generator,
        terms: Sequence[GradientTerm] = (),
        micro_batch: int | None = None,
    ) -> None:
        self.model = model
        self.terms = tuple(terms)
        self.loss = loss
        self.settings = settings
        self.optimiser = build_optimiser(model, settings)
        # A GradScaler that is switched off passes everything through.
        self.scaler = torch.amp.GradScaler(precision.device_type, enabled=precision.needs_scaler)
        self.context = StepContext(generator, self.scaler.scale, precision)
        self.micro_batch = micro_batch
        self.skipped = 0

    def run(self, batch: Batch, method: AdversarialMethod, rate: float) -> Tensor:
        """Move the parameters once with learning rate `rate`; returns the mean loss, a scalar on the model's device.

        A step whose fp16 gradients overflow is skipped by the scaler and counted in `skipped`.

        Raises:
            ModelError: the gradient is not finite (without a scaler). The parameters are unchanged then.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._accumulate(batch, method)
        self.scaler.unscale_(self.optimiser)
        for term in self.terms:
            term.adjust()
        norm = clip_gradients(self.model.parameters(), self.settings.clip_norm)
        if not bool(torch.isfinite(norm)):
            if not self.scaler.is_enabled() or not bool(torch.isfinite(losses).all()):
                raise not_finite()
            self.skipped += 1
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return losses.mean()

    def _accumulate(self, batch: Batch, method: AdversarialMethod) -> Tensor:
        """The gradient of the batch's mean loss, from one pass or from parts; the loss of each record, [B]."""
        parts = list(batch.parts(self.micro_batch))
        if len(parts) == 1:
            return method.backward(self.model, batch, self.loss, self.context)
        losses = []
        for number, part in enumerate(parts):
            share = len(part.targets) / len(batch.targets)

            def scaled(value: Tensor, share: float = share) -> Tensor:
                return self.context.scale(value * share)

            context = replace(self.context, scale=scaled, part=number)
            losses.append(method.backward(self.model, part, self.loss, context))
        return torch.cat(losses)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale all gradients in place so that their common 2-norm is at most `largest`; returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, largest)


def not_finite() -> ModelError:
    """The error for a loss or gradient that is no longer a number."""
    return ModelError(
        tr("training diverged: the loss or its gradient is not finite", "训练发散：损失或梯度不是有限值"),
        where="training.learning_rate",
        do=tr(
            'lower the learning rate, or set training.precision = "fp32"',
            '请降低学习率，或设置 training.precision = "fp32"',
        ),
    )
