"""What every method of adversarial training has in common: its settings, and one call that accumulates gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_shared.model.precision import FP32, Precision

Norm = Literal["l2", "linf"]


@dataclass(frozen=True, slots=True)
class AdversarialSettings:
    """How the word embeddings are disturbed.

    Attributes:
        method: `none` or a name of `known_methods()`.
        steps: K, forward and backward passes a step.
        norm: of the ball that δ stays in, and of the ascent direction.
        step_size, radius: with `relative` as shares of the embedded note's norm (‖X‖₂; for `linf` of its root mean
            square), otherwise as they are. `step_size` None is `radius / steps`.
        weight: w in (1 − w)·clean + w·adversarial; 1 is the method as published.
        top_loss: share of the batch, highest loss first, that goes through the second and later passes.
        every: the method runs on every n-th step, plain training on the others.
    """

    method: str = "none"
    steps: int = 2
    norm: Norm = "l2"
    step_size: float | None = None
    radius: float = 0.08
    weight: float = 1.0
    top_loss: float = 1.0
    every: int = 1
    relative: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every must be at least 1, got {self.steps} and {self.every}")
        if self.norm not in ("l2", "linf"):
            raise ValueError(f"norm must be l2 or linf, got {self.norm!r}")
        if self.radius < 0.0 or (self.step_size is not None and self.step_size < 0.0):
            raise ValueError("radius and step_size must not be negative")
        if not 0.0 <= self.weight <= 1.0:
            raise ValueError(f"weight must be in [0, 1], got {self.weight}")
        if not 0.0 < self.top_loss <= 1.0:
            raise ValueError(f"top_loss must be in (0, 1], got {self.top_loss}")

    @property
    def ascent(self) -> float:
        """The step size in force."""
        return self.radius / self.steps if self.step_size is None else self.step_size


PAPER = AdversarialSettings(
    method="freelb", steps=5, norm="l2", step_size=1e-3, radius=1e-5, weight=0.5, relative=False
)
"""The values printed in the paper that emr-fl follows. A radius of 1e-5 is about 0.02 % of an embedding's norm, far
less than what dropout does to it: kept for comparison."""


@dataclass(frozen=True)
class StepContext:
    """What a method needs beside model and batch.

    `generator` (on the model's device) draws δ₀; `scale` multiplies a loss before it goes backward (a
    GradScaler's `scale`, otherwise nothing); `precision` is the number format of forward passes.
    """

    generator: torch.Generator
    scale: Callable[[Tensor], Tensor] = lambda loss: loss
    precision: Precision = FP32


class AdversarialMethod(Protocol):
    """One method. `backward` adds the gradients of one step to the parameters and changes nothing else."""

    name: str

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate (scaled) gradients; returns the loss of each record in the first pass, float32 [B], detached."""
        ...
