"""DP-SGD with FreeLB against a loop over records that needs no hooks: the gradient of each unit, its clip, the sum.

The loop runs the method on batches of one record and reads what autograd leaves; δ₀ is handed to both, so that they disturb alike.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from emr_fl_client.adversarial import AdversarialSettings, freelb
from emr_fl_client.adversarial.registry import build_method
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.mixup import mixed_with
from emr_fl_client.training.private.clipping import add_clipped
from emr_fl_client.training.private.explicit import ExplicitNumbers
from emr_fl_client.training.private.gradients import RecordGradients, record_gradients
from emr_fl_client.training.private.step import Part, PrivateStep
from emr_fl_client.training.step import OptimiserSettings
from emr_fl_shared.errors import ModelError
from emr_fl_shared.privacy import NoiseStream
from small_encoders import CONFIGS, LOSS, batch, context, encoder_of, tiny

FREELB = AdversarialSettings(method="freelb", steps=3, top_loss=1.0)
METHODS = {
    "plain": AdversarialSettings(method="none"),
    "freelb": FREELB,
    "freelb with a clean pass": AdversarialSettings(method="freelb", steps=2, top_loss=1.0, weight=0.5),
    "freelb linf": AdversarialSettings(method="freelb", steps=2, top_loss=1.0, norm="linf"),
}
Gradients = dict[str, Tensor]


@contextmanager
def delta_of(rows: Tensor) -> Iterator[None]:
    """δ₀ that depends on a record's number alone, in the place of draws whose number depends on the batch."""
    real = freelb.initial_perturbation

    def fixed(embedded: Tensor, mask: Tensor, radius: Tensor, norm: Any, _: torch.Generator) -> Tensor:
        drawn = [
            real(embedded[[at]], mask[[at]], radius[[at]], norm, torch.Generator().manual_seed(int(row)))
            for at, row in enumerate(rows)
        ]
        return torch.cat(drawn)

    freelb.initial_perturbation = fixed
    try:
        yield
    finally:
        freelb.initial_perturbation = real


def single(data: Batch, row: int) -> Batch:
    """One record in the padding of its batch: what padding does to rounding is no question here."""
    return Batch(data.input_ids[[row]], data.attention_mask[[row]], data.targets[[row]])


def by_loop(model: nn.Module, data: Batch, method: AdversarialSettings) -> list[Gradients]:
    """The gradient of each record, from a batch of one."""
    found = []
    for row in range(len(data.targets)):
        model.zero_grad(set_to_none=True)
        with delta_of(torch.tensor([row])):
            build_method(method).backward(model, single(data, row), LOSS, context())
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    model.zero_grad(set_to_none=True)
    return found


def clipped_sum(gradients: list[Gradients], units: list[int], norm: float) -> tuple[Gradients, list[float]]:
    """Σ_u g_u min(1, C / ‖g_u‖) in float64, and the norms."""
    total: Gradients = {}
    norms = []
    for unit in sorted(set(units)):
        own = [gradient for gradient, of in zip(gradients, units, strict=True) if of == unit]
        summed = {name: sum(gradient[name].double() for gradient in own) for name in own[0]}
        size = float(torch.sqrt(sum((value**2).sum() for value in summed.values())))
        norms.append(size)
        for name, value in summed.items():
            total[name] = total.get(name, 0.0) + value * min(1.0, norm / size)
    return total, norms


def ours(
    model: nn.Module, data: Batch, method: AdversarialSettings, units: list[int], norm: float
) -> tuple[Gradients, list[float]]:
    with record_gradients(model) as gradients:
        return hooked(gradients, model, data, method, units, norm)


def hooked(
    gradients: RecordGradients,
    model: nn.Module,
    data: Batch,
    method: AdversarialSettings,
    units: list[int],
    norm: float,
) -> tuple[Gradients, list[float]]:
    count = len(data.targets)
    gradients.clear()
    with delta_of(torch.arange(count)):
        build_method(method).backward(
            ExplicitNumbers(model), data, LOSS, context(scale=lambda value: value * count)
        )
    gradients.check(count)
    total = {parameter: torch.zeros_like(parameter) for parameter in gradients.parameters.values()}
    norms = add_clipped(gradients, torch.tensor(units), norm, total)
    return {name: total[p] for name, p in gradients.parameters.items()}, norms.tolist()


def apart(left: Gradients, right: Gradients) -> float:
    """‖left − right‖ / ‖right‖ over all parameters."""
    difference = sum(float(((left[name].double() - right[name].double()) ** 2).sum()) for name in right)
    return (difference / sum(float((value.double() ** 2).sum()) for value in right.values())) ** 0.5


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("kind", [*CONFIGS, "tiny"])
def test_gradients_norms_and_clipped_sum_are_those_of_a_loop(kind: str, method: AdversarialSettings) -> None:
    model = (tiny(dropout=0.0) if kind == "tiny" else encoder_of(kind)).double()
    data = batch(5)
    gradients = by_loop(model, data, method)
    _, norms = clipped_sum(gradients, list(range(5)), 1.0)
    bound = sorted(norms)[2]  # some are clipped, some are not
    expected, _ = clipped_sum(gradients, list(range(5)), bound)
    found, found_norms = ours(model, data, method, list(range(5)), bound)
    assert found_norms == pytest.approx(norms, rel=1e-6)
    assert (
        apart({name: found[name] for name in expected}, expected) < 1e-6 + 1e-6
    )  # and the slack of the clip
    assert all(not found[name].any() for name in found.keys() - expected.keys())


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    steps=st.integers(1, 4),
    share=st.floats(0.001, 3.0),
    data=st.data(),
)
def test_no_unit_gives_more_than_the_bound(
    rows: int, seed: int, steps: int, share: float, data: st.DataObject
) -> None:
    """The property that everything rests on, on ragged batches: a unit alone in the sum, K passes of FreeLB, norm ≤ C."""
    model = tiny(dropout=0.1)
    ragged = batch(rows, seed)
    units = sorted(data.draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows)))
    units = [sorted(set(units)).index(unit) for unit in units]
    method = AdversarialSettings(method="freelb", steps=steps, top_loss=1.0)
    _, norms = ours(model, ragged, method, units, 1.0)
    bound = share * norms[0]
    for unit in set(units):
        chosen = torch.tensor([row for row, of in enumerate(units) if of == unit])
        alone, (norm, *_) = ours(model, ragged.rows(chosen), method, [0] * len(chosen), bound)
        size = float(torch.sqrt(sum((value.double() ** 2).sum() for value in alone.values())))
        assert size <= bound * (1 + 1e-6)
        if norm > bound:
            assert size == pytest.approx(bound, rel=1e-5), "and no less where it is clipped"


def test_patients_are_clipped_once_for_all_their_records() -> None:
    model, data = tiny(dropout=0.0).double(), batch(7, seed=3)
    units = [0, 0, 0, 1, 2, 2, 3]
    gradients = by_loop(model, data, FREELB)
    _, norms = clipped_sum(gradients, units, 1.0)
    expected, _ = clipped_sum(gradients, units, 0.5 * norms[0])
    found, found_norms = ours(model, data, FREELB, units, 0.5 * norms[0])
    assert found_norms == pytest.approx(norms, rel=1e-6)
    assert apart(found, expected) < 2e-6


def test_parts_add_up() -> None:
    model, data = tiny(dropout=0.0), batch(7, seed=3)
    method = METHODS["plain"]
    whole, _ = ours(model, data, method, list(range(7)), 1.0)
    parts = [data.rows(torch.arange(3)), data.rows(torch.arange(3, 7))]
    sums = [ours(model, part, method, list(range(len(part.targets))), 1.0)[0] for part in parts]
    assert apart({name: sums[0][name] + sums[1][name] for name in whole}, whole) < 1e-5


class Untied(nn.Module):
    """What opacus alone makes of an encoder: dense embeddings, a list of gradients, one a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(400, 8)
        self.out = nn.Linear(8, 5)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self, attention_mask: Tensor, inputs_embeds: Tensor | None = None, input_ids: Tensor | None = None
    ) -> Any:
        embedded = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        pooled = (embedded * attention_mask[..., None]).sum(dim=1) / attention_mask.sum(dim=1, keepdim=True)
        return type("Output", (), {"logits": self.out(pooled)})


def test_planted_a_list_of_gradients_clipped_apart() -> None:
    """opacus' optimiser clips each (record, pass) of the list: with K = 3 a record can give up to 3 C. Ours can't."""
    torch.manual_seed(0)
    model, data, norm = Untied(), batch(1), 1e-3
    opacus = copy.deepcopy(model).train()
    GradSampleHooks(opacus, loss_reduction="sum")
    build_method(FREELB).backward(opacus, data, LOSS, context())
    weights = list(opacus.parameters())
    assert isinstance(weights[0].grad_sample, list) and len(weights[0].grad_sample) == 3
    optimiser = DPOptimizer(
        torch.optim.SGD(weights, 1.0),
        noise_multiplier=0.0,
        max_grad_norm=norm,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    optimiser.clip_and_accumulate()
    planted = torch.cat([weight.summed_grad.flatten() for weight in weights]).norm()
    found, _ = ours(model.train(), data, FREELB, [0], norm)
    size = torch.cat([value.flatten() for value in found.values()]).norm()
    assert float(planted) > 2.5 * norm
    assert float(size) <= norm * (1 + 1e-6)


def test_planted_mixup_moves_another_records_gradient() -> None:
    """A mixed record changes when its partner does, so that its clip bounds neither: why MixUp is refused."""
    model, data = tiny(dropout=0.0), batch(2)
    partner, share = torch.tensor([1, 0]), torch.tensor([0.5, 0.5])
    other = Batch(data.input_ids.clone(), data.attention_mask, data.targets.clone())
    other.input_ids[1] = (other.input_ids[1] + 7) * data.attention_mask[1]

    with record_gradients(model), pytest.raises(ModelError, match="embedding"):
        build_method(METHODS["plain"]).backward(model, mixed_with(data, partner, share), LOSS, context())
    model.get_input_embeddings().weight.requires_grad_(False)  # without them nothing else would notice

    def of_the_first(notes: Batch) -> Tensor:
        with record_gradients(model) as gradients:
            build_method(METHODS["plain"]).backward(
                model, notes, LOSS, context(scale=lambda value: value * 2)
            )
            return gradients.of(model.classifier.weight)[0].clone()

    assert torch.equal(of_the_first(data), of_the_first(other))
    mixed = of_the_first(mixed_with(data, partner, share))
    assert not torch.allclose(mixed, of_the_first(mixed_with(other, partner, share)), rtol=1e-3)


def test_planted_a_shared_weight_is_noticed() -> None:
    """A weight used outside of its layer has a gradient that the hooks don't see (tied heads)."""

    class Tied(Untied):
        def forward(self, *arguments: Any, **named: Any) -> Any:
            output = super().forward(*arguments, **named)
            output.logits = output.logits + self.embedding.weight[:5].sum(dim=1)
            return output

    model = Tied().train()
    with record_gradients(model) as gradients:
        build_method(METHODS["plain"]).backward(model, batch(3), LOSS, context(scale=lambda value: value * 3))
        with pytest.raises(ModelError, match="no gradient for each record"):
            gradients.check(3)


def test_bert_without_its_own_position_numbers_is_noticed() -> None:
    model = encoder_of("bert")
    with record_gradients(model) as gradients:
        build_method(METHODS["plain"]).backward(model, batch(3), LOSS, context(scale=lambda value: value * 3))
        with pytest.raises(ModelError, match="position_embeddings"):
            gradients.check(3)


def test_a_layer_that_mixes_records_is_refused() -> None:
    with (
        pytest.raises(ModelError, match="BatchNorm1d"),
        record_gradients(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    ):
        pass


def test_a_gradient_that_is_not_finite_counts_as_nothing() -> None:
    model, data = tiny(dropout=0.0), batch(4)
    with record_gradients(model) as gradients:
        expected, _ = hooked(
            gradients, model, data.rows(torch.tensor([0, 2, 3])), METHODS["plain"], [0, 1, 2], 1.0
        )
        gradients.clear()
        build_method(METHODS["plain"]).backward(
            ExplicitNumbers(model), data, LOSS, context(scale=lambda value: value * 4)
        )
        for parameter in gradients.parameters.values():
            gradients.of(parameter)[1] = torch.nan
        total = {parameter: torch.zeros_like(parameter) for parameter in gradients.parameters.values()}
        add_clipped(gradients, torch.arange(4), 1.0, total)
        found = {name: total[p] for name, p in gradients.parameters.items()}
    assert apart(found, expected) < 1e-5


def test_the_model_is_as_it_was_when_the_hooks_are_gone() -> None:
    model = tiny(dropout=0.0)
    before = set(vars(next(model.parameters())))
    ours(model, batch(3), FREELB, [0, 1, 2], 1.0)
    assert all(set(vars(p)) == before and p.grad is None for p in model.parameters())
    assert not any(hasattr(module, "activations") for module in model.modules())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


class NoNoise(NoiseStream):
    def normal(self, shape: tuple[int, ...], deviation: float) -> Any:
        self.deviations = [*getattr(self, "deviations", []), deviation]
        return super().normal(shape, 0.0)


def a_step(
    model: nn.Module, gradients: RecordGradients, stream: NoiseStream, sigma: float = 1.5
) -> PrivateStep:
    return PrivateStep(
        model,
        gradients,
        LOSS,
        OptimiserSettings(learning_rate=1.0, weight_decay=0.0),
        torch.Generator().manual_seed(0),
        stream,
        clipping_norm=2.0,
        noise_multiplier=sigma,
        expected=8.0,
    )


def test_one_draw_of_noise_a_step_and_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient that AdamW sees is (Σ clipped + N(0, (σC)²)) / expected: once for all parts, also where nobody was drawn."""
    model = tiny(dropout=0.0)
    seen: list[Tensor] = []
    with record_gradients(model) as gradients:
        stream = NoNoise(b"k" * 32)
        step = a_step(model, gradients, stream)
        parameters = list(gradients.parameters.values())
        monkeypatch.setattr(
            step.optimiser, "step", lambda: seen.append(torch.cat([p.grad.flatten() for p in parameters]))
        )
        data = batch(6)
        parts = [Part(data.rows(rows), torch.arange(len(rows))) for rows in torch.arange(6).split(4)]
        losses = step.run(parts, build_method(METHODS["plain"]), 1.0)
        assert len(losses) == 6
        assert stream.deviations == [3.0] * len(parameters)
        sums = [ours_in(gradients, model, part) for part in parts]
        expected = torch.cat([(sums[0][p] + sums[1][p]).flatten() for p in parameters]) / 8.0
        assert torch.allclose(seen[0], expected, rtol=1e-4, atol=1e-7)
        # nobody drawn: noise alone, of deviation σC / expected
        step.stream = NoiseStream(b"k" * 32)
        assert len(step.run([], build_method(METHODS["plain"]), 1.0)) == 0
    count = len(seen[1])
    assert float(seen[1].std()) == pytest.approx(3.0 / 8.0, rel=5 / (2 * count) ** 0.5)
    assert abs(float(seen[1].mean())) < 5 * (3.0 / 8.0) / count**0.5


def ours_in(gradients: RecordGradients, model: nn.Module, part: Part) -> dict[nn.Parameter, Tensor]:
    found, _ = hooked(gradients, model, part.batch, METHODS["plain"], part.units.tolist(), 2.0)
    return {gradients.parameters[name]: value for name, value in found.items()}
