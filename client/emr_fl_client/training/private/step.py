"""One step of DP-SGD: Abadi et al., CCS 2016, Algorithm 1, with AdamW in the place of plain descent and any method per record.

    g̃ = (Σ_u ḡ_u + N(0, σ²C²I)) / (q·U)

    ḡ_u → `add_clipped`    σ → `noise_multiplier`    C → `clipping_norm`    q·U → `expected`, the units expected in a step

The divisor is the expected number, not the number drawn, which one unit changes. A step in which no unit was drawn adds noise
alone: leaving it out would tell that none was drawn. Everything after g̃ (FedProx' term, AdamW, averages of weights) is
post-processing. `training.clip_norm` has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emr_fl_client.adversarial.method import AdversarialMethod, StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.private.clipping import add_clipped
from emr_fl_client.training.private.explicit import ExplicitNumbers
from emr_fl_client.training.private.gradients import RecordGradients
from emr_fl_client.training.step import GradientTerm, OptimiserSettings, build_optimiser
from emr_fl_shared.privacy import NoiseStream


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the drawn units, none of them cut: their records, and whose each is, int64 [B] of 0 … U − 1 in order."""

    batch: Batch
    units: Tensor


class PrivateStep:
    """Model and optimiser of one round. `gradients`: the hooks on `model`; `terms` are added to the noisy gradient."""

    def __init__(
        self,
        model: nn.Module,
        gradients: RecordGradients,
        loss: MultiLabelLoss,
        settings: OptimiserSettings,
        generator: torch.Generator,
        stream: NoiseStream,
        *,
        clipping_norm: float,
        noise_multiplier: float,
        expected: float,
        terms: Sequence[GradientTerm] = (),
    ) -> None:
        self.model = ExplicitNumbers(model)
        self.gradients = gradients
        self.loss = loss
        self.optimiser = build_optimiser(model, settings)
        self.generator = generator
        self.stream = stream
        self.clipping_norm = clipping_norm
        self.deviation = noise_multiplier * clipping_norm
        self.expected = expected
        self.terms = tuple(terms)
        self._checked = False

    def run(self, parts: Iterable[Part], method: AdversarialMethod, rate: float) -> Tensor:
        """Move the parameters once with learning rate `rate`; returns the losses of the drawn records, which are not to leave.

        Raises `ModelError` for an encoder without a gradient for each record.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        device = self.generator.device
        total = {p: torch.zeros_like(p) for p in self.gradients.parameters.values()}
        losses = [torch.empty(0, device=device)]
        for number, part in enumerate(parts):
            losses.append(self._part(part, method, number, total))
        for parameter, summed in total.items():
            noise = torch.from_numpy(self.stream.normal(tuple(parameter.shape), self.deviation))
            parameter.grad = summed.add_(noise.to(device)).div_(self.expected)
        for term in self.terms:
            term.adjust()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return torch.cat(losses)

    def _part(
        self, part: Part, method: AdversarialMethod, number: int, total: dict[nn.Parameter, Tensor]
    ) -> Tensor:
        count = len(part.units)

        def summed(value: Tensor) -> Tensor:
            return value * count  # methods weigh a record by 1/B, and its own gradient has no B in it

        self.gradients.clear()
        context = StepContext(self.generator, summed, part=number)
        losses = method.backward(self.model, part.batch, self.loss, context)
        if not self._checked:
            self.gradients.check(count)
            self._checked = True
        with torch.no_grad():
            add_clipped(self.gradients, part.units, self.clipping_norm, total)
        self.gradients.clear()
        return losses
