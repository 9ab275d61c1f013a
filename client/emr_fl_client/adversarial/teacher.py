"""Weights of earlier steps, to which a method compares the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.method import StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import logits_of


class Teacher:
    """θ̃: the weights at the first step, then θ̃ ← β·θ̃ + (1 − β)·θ before every `every`-th further step.

    Takes as much memory as the parameters, on their device, in their format.
    """

    def __init__(self, momentum: float, every: int) -> None:
        self.momentum = momentum
        self.every = every
        self._weights: dict[str, Tensor] = {}
        self._steps = 0

    @torch.no_grad()
    def advance(self, model: nn.Module) -> None:
        """To be called once a step, before the step's passes."""
        current = {name: parameter.detach() for name, parameter in model.named_parameters()}
        if not self._weights:
            self._weights = {name: parameter.clone() for name, parameter in current.items()}
        elif self._steps % self.every == 0:
            for name, parameter in current.items():
                self._weights[name].lerp_(parameter, 1.0 - self.momentum)
        self._steps += 1

    @torch.no_grad()
    def logits(self, model: nn.Module, batch: Batch, context: StepContext) -> Tensor:
        """What `model` would say with θ̃ in the place of its weights, [B, K], without gradient."""
        weights = {f"model.{name}": weight for name, weight in self._weights.items()}
        with context.precision.autocast():
            logits: Tensor = torch.func.functional_call(_Reader(model), weights, (batch,))
        return logits


class _Reader(nn.Module):
    """A model that reads batches, mixed ones too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return logits_of(self.model, batch)
