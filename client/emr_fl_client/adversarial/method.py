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
    """How the word embeddings are disturbed. What each number stands for in a method's paper is in the method's file.

    Attributes:
        method: `none` or a name of `known_methods()`.
        steps: K, ascent steps (power iterations of VAT; FGSM has one in any case).
        phases: K of each of equal parts of the training, 0 for plain training; empty: `steps` in all of it.
        norm: of the ball that δ stays in, and of the ascent direction.
        step_size, radius: with `relative` as shares of the embedded note's norm (‖X‖₂; for `linf` of its root mean
            square), otherwise as they are. `step_size` None is `radius / steps`.
        weight: w in (1 − w)·clean + w·adversarial (FGSM, PGD, FreeLB).
        regularisation: λ in clean + λ·regulariser (VAT, SMART).
        start: size of the perturbation at which the regulariser's first gradient is taken (VAT's ξ, SMART's σ).
        bregman, momentum, teacher_every: SMART's μ, β and S.
        top_loss: share of the batch, highest loss first, that goes through the adversarial passes.
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
    phases: tuple[int, ...] = ()
    regularisation: float = 1.0
    start: float = 0.01
    bregman: float = 1.0
    momentum: float = 0.99
    teacher_every: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every must be at least 1, got {self.steps} and {self.every}")
        if any(steps < 0 for steps in self.phases):
            raise ValueError(f"phases must not be negative, got {self.phases}")
        if min(self.regularisation, self.bregman) < 0.0 or self.start <= 0.0:
            raise ValueError("regularisation and bregman must not be negative, start must be above 0")
        if not 0.0 <= self.momentum < 1.0 or self.teacher_every < 1:
            raise ValueError("momentum must be in [0, 1) and teacher_every at least 1")
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

    def steps_at(self, progress: float) -> int:
        """K at `progress` in [0, 1) of the training; 0: plain."""
        if not self.phases:
            return self.steps
        return self.phases[min(int(progress * len(self.phases)), len(self.phases) - 1)]


@dataclass(frozen=True)
class StepContext:
    """What a method needs beside model and batch.

    `generator` (on the model's device) draws δ₀; `scale` multiplies a loss before it goes backward (a
    GradScaler's `scale`, otherwise nothing); `precision` is the number format of forward passes. `part` counts
    the parts of a batch whose gradients are accumulated: what a method remembers of a step moves with part 0.
    """

    generator: torch.Generator
    scale: Callable[[Tensor], Tensor] = lambda loss: loss
    precision: Precision = FP32
    part: int = 0


class OnEmbeddings:
    """What the methods that disturb embeddings have in common."""

    def __init__(self, settings: AdversarialSettings) -> None:
        self.settings = settings

    @property
    def per_record(self) -> bool:
        """See `AdversarialMethod`: which notes have the highest loss depends on the others in the batch."""
        return self.settings.top_loss >= 1.0


class AdversarialMethod(Protocol):
    """One method. `backward` adds the gradients of one step to the parameters and changes nothing else in the model.

    `settings` are read in every call, so that a schedule may put others in their place.
    """

    name: str
    settings: AdversarialSettings

    @property
    def per_record(self) -> bool:
        """Whether a record's share of the gradient depends on that record alone. Otherwise clipping it, as differential
        privacy does, does not bound what a record can change."""
        ...

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate (scaled) gradients; returns the loss of each record in the first pass, float32 [B], detached."""
        ...
