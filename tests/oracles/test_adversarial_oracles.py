"""FGSM, PGD, VAT, SMART and noise consistency against slow, obviously right oracles: one note at a time.

The oracles share no code with the implementation: no batch, no padding, no mask, gradients by `autograd.grad`, the loss and
the divergences written out with probabilities.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from emr_fl_client.adversarial import AdversarialSettings, ConsistencySettings, StepContext, build_method
from emr_fl_client.adversarial.consistency import NoiseConsistency
from emr_fl_client.dataset.batch import Batch
from small_encoders import BCE, encoder_of

Value = Callable[[nn.Module, Tensor], Tensor]


def probabilities(model: nn.Module, embedded: Tensor) -> Tensor:
    return torch.sigmoid(
        model(inputs_embeds=embedded[None], attention_mask=torch.ones(1, len(embedded))).logits[0]
    )


def cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).sum()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))).sum()


def both(p: Tensor, q: Tensor) -> Tensor:
    return kl(p, q) + kl(q, p)


class Oracle:
    """One note at a time; every method returns the value whose gradient the note adds."""

    def __init__(self, model: nn.Module, settings: AdversarialSettings) -> None:
        self.model, self.settings = model, settings

    def embed(self, note: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(note)

    def unit(self, x: Tensor) -> float:
        if not self.settings.relative:
            return 1.0
        return float((x**2).mean().sqrt()) if self.settings.norm == "linf" else float((x**2).sum().sqrt())

    def along(self, g: Tensor) -> Tensor:
        return g.sign() if self.settings.norm == "linf" else g / (g**2).sum().sqrt()

    def projected(self, delta: Tensor, bound: float) -> Tensor:
        if self.settings.norm == "linf":
            return delta.clamp(-bound, bound)
        length = float((delta**2).sum().sqrt())
        return delta * (bound / length) if length > bound else delta

    def slope(self, at: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
        delta = delta.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(at(delta), delta)
        return gradient.detach()

    def value(self, note: Tensor, y: Tensor, uniform: Tensor, normal: Tensor, teacher: nn.Module) -> Tensor:
        settings, model = self.settings, self.model
        x = self.embed(note).detach()
        clean = cross_entropy(probabilities(model, self.embed(note)), y)
        bound, step = settings.radius * self.unit(x), settings.ascent * self.unit(x)
        start = settings.start * self.unit(x)
        w = settings.weight

        def loss(delta: Tensor) -> Tensor:
            return cross_entropy(probabilities(model, x + delta), y)

        match settings.method:
            case "fgsm":
                delta = bound * self.along(self.slope(loss, torch.zeros_like(x)))
                return (1 - w) * clean + w * cross_entropy(probabilities(model, self.embed(note) + delta), y)
            case "pgd":
                delta = uniform * bound if settings.norm == "linf" else uniform * bound / x.numel() ** 0.5
                for _ in range(settings.steps):
                    delta = self.projected(delta + step * self.along(self.slope(loss, delta)), bound)
                return (1 - w) * clean + w * cross_entropy(probabilities(model, self.embed(note) + delta), y)
            case "vat":
                fixed = probabilities(model, x).detach()
                d = normal / (normal.abs().max() if settings.norm == "linf" else (normal**2).sum().sqrt())
                for _ in range(settings.steps):
                    d = self.along(self.slope(lambda r: kl(fixed, probabilities(model, x + r)), start * d))
                r = kl(fixed, probabilities(model, self.embed(note) + bound * d))
                return clean + settings.regularisation * r
            case "smart":
                fixed = probabilities(model, x).detach()
                sigma = settings.start * (float((x**2).mean().sqrt()) if settings.relative else 1.0)
                delta = self.projected(sigma * normal, bound)
                for _ in range(settings.steps):
                    g = self.slope(lambda r: both(fixed, probabilities(model, x + r)), delta)
                    largest = g.abs().max() if settings.norm == "linf" else (g**2).sum().sqrt()
                    delta = self.projected(delta + step * g / largest, bound)
                here = probabilities(model, self.embed(note))
                smooth = both(here, probabilities(model, self.embed(note) + delta))
                before = probabilities(teacher, teacher.get_input_embeddings()(note)).detach()
                return clean + settings.regularisation * smooth + settings.bregman * both(here, before)
        raise AssertionError(settings.method)


CASES = {
    "fgsm": {"method": "fgsm", "weight": 0.5},
    "fgsm-linf": {"method": "fgsm", "weight": 0.3, "norm": "linf"},
    "fgsm-absolute-adversarial-only": {"method": "fgsm", "relative": False},
    "pgd": {"method": "pgd", "steps": 3, "step_size": 0.1, "radius": 0.15},
    "pgd-linf": {"method": "pgd", "steps": 3, "norm": "linf"},
    "pgd-half-clean": {"method": "pgd", "weight": 0.5},
    "pgd-absolute": {"method": "pgd", "relative": False, "step_size": 0.02, "radius": 0.05},
    "vat": {"method": "vat", "steps": 1, "start": 0.1},
    "vat-three-iterations": {"method": "vat", "steps": 3, "start": 0.1, "regularisation": 2.0},
    "vat-linf": {"method": "vat", "steps": 1, "start": 0.1, "norm": "linf"},
    "vat-absolute": {"method": "vat", "steps": 1, "start": 0.1, "radius": 0.2, "relative": False},
    "smart": {"method": "smart", "steps": 1, "start": 0.1, "norm": "linf"},
    "smart-l2": {"method": "smart", "steps": 2, "start": 0.05, "step_size": 0.1, "regularisation": 2.0},
    "smart-absolute": {"method": "smart", "steps": 2, "start": 0.02, "relative": False, "bregman": 0.5},
}
LENGTHS = [4, 11, 7]


def notes() -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(20, 300, (length,), generator=generator) for length in LENGTHS]
    return ids, (torch.rand(3, 5, generator=generator) < 0.4).float()


def padded(rows: list[Tensor], width: int = 16) -> tuple[Tensor, Tensor]:
    ids, mask = (
        torch.zeros(len(rows), width, dtype=torch.long),
        torch.zeros(len(rows), width, dtype=torch.long),
    )
    for row, note in enumerate(rows):
        ids[row, : len(note)], mask[row, : len(note)] = note, 1
    return ids, mask


def wide(kind: str) -> nn.Module:
    """Weights large enough that a perturbation matters, no dropout."""
    model = encoder_of(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5.0)
    return model


def compare(model: nn.Module, expected: Tensor) -> None:
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        if gradient is None:
            assert parameter.grad is None or (parameter.grad == 0).all(), name
        else:
            torch.testing.assert_close(
                parameter.grad, gradient, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("kind", ["bert", "electra"])
@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_padded_notes_gives_the_oracles_gradient(case: str, kind: str) -> None:
    model = wide(kind)
    rows, labels = notes()
    ids, mask = padded(rows)
    settings = AdversarialSettings(**{"radius": 0.2, **CASES[case]})
    method = build_method(settings)
    hidden = model.get_input_embeddings().embedding_dim
    teacher = copy.deepcopy(model)
    if settings.method == "smart":
        # The first step shows the method the weights that its teacher keeps; then the model moves, the teacher by a hundredth.
        method.backward(model, Batch(ids, mask, labels), BCE, StepContext(torch.Generator()))
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch.manual_seed(5)
            for moved, kept in zip(model.parameters(), teacher.parameters(), strict=True):
                moved.add_(torch.randn_like(moved), alpha=0.02)
                kept.copy_(0.99 * kept + 0.01 * moved)
    drawn = torch.Generator().manual_seed(2)
    uniform = torch.empty(3, 16, hidden).uniform_(-1.0, 1.0, generator=drawn)
    normal = torch.empty(3, 16, hidden).normal_(generator=torch.Generator().manual_seed(2))
    oracle = Oracle(model, settings)
    values = [
        oracle.value(note, y, uniform[row, : len(note)], normal[row, : len(note)], teacher)
        for row, (note, y) in enumerate(zip(rows, labels, strict=True))
    ]
    method.backward(model, Batch(ids, mask, labels), BCE, StepContext(torch.Generator().manual_seed(2)))
    compare(model, torch.stack(values).mean())


@pytest.mark.parametrize("method", ["none", "fgsm"])
def test_noise_consistency_is_the_divergence_between_note_and_copy(method: str) -> None:
    model = wide("bert")
    rows, labels = notes()
    copies = [torch.cat([rows[0][:2], rows[0][3:]]), torch.empty(0, dtype=torch.long), rows[2].flip(0)]
    noised_ids, noised_mask = padded(copies, width=8)
    batch = Batch(*padded(rows), labels, noised_ids=noised_ids, noised_mask=noised_mask)
    settings = AdversarialSettings(method=method, radius=0.2, weight=0.5)
    oracle = Oracle(model, settings)
    values = []
    for note, noised, y in zip(rows, copies, labels, strict=True):
        here = probabilities(model, oracle.embed(note))
        value = cross_entropy(here, y)
        if method == "fgsm":
            value = oracle.value(note, y, torch.empty(0), torch.empty(0), model)
        if len(noised):
            value = value + 3.0 * both(here, probabilities(model, oracle.embed(noised)))
        values.append(value)
    added = NoiseConsistency(build_method(settings), ConsistencySettings(weight=3.0))
    added.backward(model, batch, BCE, StepContext(torch.Generator()))
    compare(model, torch.stack(values).mean())
