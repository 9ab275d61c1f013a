"""FreeLB against a slow, obviously right oracle: Algorithm 1 of Zhu et al. (ICLR 2020), one note at a time.

The oracle shares no code with the implementation: no batch, no padding, no mask, gradients by `autograd.grad`, the loss written out.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emr_fl_client.adversarial import AdversarialSettings, StepContext
from emr_fl_client.adversarial.freelb import FreeLB
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import LossSettings, MultiLabelLoss
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tiny import TinyShape


def oracle(
    model: nn.Module,
    notes: list[Tensor],
    labels: Tensor,
    uniform: list[Tensor],
    *,
    steps: int,
    alpha: float,
    epsilon: float,
    norm: str,
    relative: bool,
    clean_share: float,
) -> list[Tensor]:
    """g_K: the mean over notes of (1/K) Σ_t ∇_θ L(f_θ(X + δ_{t−1}), y). `uniform[i]` ~ U(−1, 1), [L_i, H]."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(p) for p in parameters]

    def cross_entropy(embedded: Tensor, y: Tensor) -> Tensor:
        z = model(inputs_embeds=embedded[None], attention_mask=torch.ones(1, len(embedded))).logits[0]
        p = torch.sigmoid(z)
        return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).sum()

    for note, y, u in zip(notes, labels, uniform, strict=True):
        x = model.get_input_embeddings()(note).detach()
        unit = 1.0
        if relative:
            unit = float((x**2).mean().sqrt()) if norm == "linf" else float((x**2).sum().sqrt())
        bound, step = epsilon * unit, alpha * unit
        delta = u * bound if norm == "linf" else u * bound / x.numel() ** 0.5
        for _ in range(steps):
            delta = delta.detach().requires_grad_(True)
            embedded = model.get_input_embeddings()(note) + delta
            value = cross_entropy(embedded, y)
            *by_parameter, by_delta = torch.autograd.grad(value, [*parameters, delta], allow_unused=True)
            for sum_, gradient in zip(total, by_parameter, strict=True):
                if gradient is not None:
                    sum_ += (1 - clean_share) * gradient / steps / len(notes)
            if norm == "linf":
                delta = (delta + step * by_delta / by_delta.abs().max()).clamp(-bound, bound)
            else:
                delta = delta + step * by_delta / (by_delta**2).sum().sqrt()
                length = float((delta**2).sum().sqrt().detach())
                if length > bound:
                    delta = delta * (bound / length)
        if clean_share:
            gradients = torch.autograd.grad(
                cross_entropy(model.get_input_embeddings()(note), y), parameters, allow_unused=True
            )
            for sum_, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    sum_ += clean_share * gradient / len(notes)
    return total


CASES = {
    "K=1": {"steps": 1, "step_size": 0.1, "radius": 0.1},
    "K=2": {"steps": 2, "step_size": 0.1, "radius": 0.2},
    "K=3-projected": {"steps": 3, "step_size": 0.2, "radius": 0.25},
    "linf": {"steps": 3, "step_size": 0.1, "radius": 0.15, "norm": "linf"},
    "absolute": {"steps": 3, "step_size": 0.03, "radius": 0.05, "relative": False},
    "half-clean": {"steps": 2, "step_size": 0.1, "radius": 0.2, "weight": 0.5},
}


@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_padded_notes_gives_the_oracles_gradient(case: str) -> None:
    shape = TinyShape(hidden=24, layers=2, heads=2, intermediate=32, dropout=0.0, initializer_range=0.1)
    model = build_model("tiny", list("abcd"), max_length=16, seed=0, shape=shape).model.train()
    generator = torch.Generator().manual_seed(1)
    lengths = [4, 11, 7]
    notes = [torch.randint(20, 300, (length,), generator=generator) for length in lengths]
    labels = (torch.rand(3, 4, generator=generator) < 0.4).float()
    ids, mask = torch.zeros(3, 16, dtype=torch.long), torch.zeros(3, 16, dtype=torch.long)
    for row, note in enumerate(notes):
        ids[row, : len(note)], mask[row, : len(note)] = note, 1

    settings = AdversarialSettings(method="freelb", **CASES[case])
    drawn = torch.empty(3, 16, 24).uniform_(-1.0, 1.0, generator=torch.Generator().manual_seed(2))
    expected = oracle(
        model,
        notes,
        labels,
        [drawn[row, :length] for row, length in enumerate(lengths)],
        steps=settings.steps,
        alpha=settings.ascent,
        epsilon=settings.radius,
        norm=settings.norm,
        relative=settings.relative,
        clean_share=1.0 - settings.weight,
    )
    loss = MultiLabelLoss(LossSettings(focal=0.0))
    FreeLB(settings).backward(
        model, Batch(ids, mask, labels), loss, StepContext(torch.Generator().manual_seed(2))
    )
    for (name, parameter), gradient in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(
            parameter.grad, gradient, rtol=1e-3, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
