"""FreeLB: numbers made by hand, properties, and what ties it to plain training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

from emr_fl_client.adversarial import AdversarialSettings, StepContext, build_method, freelb
from emr_fl_client.adversarial.freelb import FreeLB, ascend, initial_perturbation
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import LossSettings, MultiLabelLoss
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.precision import Precision
from emr_fl_shared.model.tiny import TinyShape

LOSS = MultiLabelLoss()
BCE = MultiLabelLoss(LossSettings(focal=0.0))


def context(seed: int = 0, **changes: object) -> StepContext:
    return StepContext(torch.Generator().manual_seed(seed), **changes)


def tiny(dropout: float = 0.1, seed: int = 0) -> nn.Module:
    shape = TinyShape(hidden=32, layers=2, heads=2, intermediate=64, dropout=dropout)
    return build_model("tiny", list("abcde"), max_length=32, seed=seed, shape=shape).model.train()


def batch(rows: int = 6, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 17, (rows,), generator=generator)
    mask = (torch.arange(16)[None, :] < lengths[:, None]).long()
    ids = torch.randint(20, 400, (rows, 16), generator=generator) * mask
    return Batch(ids, mask, (torch.rand(rows, 5, generator=generator) < 0.3).float())


def gradients(
    model: nn.Module, method, data: Batch, with_context: StepContext | None = None
) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    method.backward(model, data, LOSS, with_context or context())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class TwoParameters(nn.Module):
    """logit = w · e: one token with an embedding of one dimension."""

    def __init__(self, e: float, w: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1, 1)
        self.embedding.weight.data.fill_(e)
        self.w = nn.Parameter(torch.tensor(w))

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self, attention_mask: Tensor, inputs_embeds: Tensor | None = None, input_ids: Tensor | None = None
    ):
        embedded = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        return SimpleNamespace(logits=self.w * embedded.sum(dim=1))


ONE = torch.ones(1, 1, dtype=torch.long)


@pytest.mark.parametrize(
    ("changes", "expected_w", "expected_e"),
    [
        # e = 1, w = 2, y = 0, so L = softplus(2·(1 + δ)), dL/dw = σ(z)(1 + δ), dL/de = dL/dδ = 2σ(z) > 0.  δ₀ = 0.
        # pass 1: z = 2, σ = .88079708; pass 2: δ = +.5, z = 3, σ = .95257413
        # w: (.88079708 + 1.5·.95257413) / 2,  e: (2·.88079708 + 2·.95257413) / 2
        ({}, 1.15482913, 1.83337120),
        # relative: ‖X‖ = |e| = 1, so the same numbers
        ({"relative": True}, 1.15482913, 1.83337120),
        # a step of 3 is projected back to .5
        ({"step_size": 3.0}, 1.15482913, 1.83337120),
        ({"norm": "linf"}, 1.15482913, 1.83337120),
        # K = 3, step .2: δ = 0, .2, .4; z = 2, 2.4, 2.8; σ = .88079708, .91682730, .94267582
        ({"steps": 3, "step_size": 0.2}, 1.10024533, 1.82686680),
        # half clean (z = 2), half FreeLB
        ({"weight": 0.5}, 0.5 * 0.88079708 + 0.5 * 1.15482913, 0.5 * 1.76159416 + 0.5 * 1.83337120),
    ],
    ids=["K=2", "relative", "projected", "linf", "K=3", "half-clean"],
)
def test_hand_made_numbers(
    changes, expected_w: float, expected_e: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        freelb, "initial_perturbation", lambda embedded, *_: torch.zeros_like(embedded).detach()
    )
    values = {"method": "freelb", "steps": 2, "step_size": 0.5, "radius": 0.5, "relative": False, **changes}
    model = TwoParameters(1.0, 2.0)
    data = Batch(torch.zeros_like(ONE), ONE, torch.zeros(1, 1))
    first = FreeLB(AdversarialSettings(**values)).backward(model, data, BCE, context())
    assert model.w.grad.item() == pytest.approx(expected_w, abs=1e-6)
    assert model.embedding.weight.grad.item() == pytest.approx(expected_e, abs=1e-6)
    assert first.item() == pytest.approx(2.12692801, abs=1e-6)  # softplus(2)


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("steps", [1, 2, 4, 3, 5])
def test_without_radius_it_is_plain_training(steps: int, weight: float) -> None:
    # Shares of 1, 1/2 and 1/4 are exact, and so are their sums in these cases: not one bit may differ, dropout included
    model, data = tiny(dropout=0.3), batch()
    settings = AdversarialSettings(method="freelb", steps=steps, radius=0.0, weight=weight)
    plain, adversarial = gradients(model, Plain(), data), gradients(model, FreeLB(settings), data)
    assert plain.keys() == adversarial.keys()
    for name, gradient in plain.items():
        if steps in (1, 2) or (steps == 4 and weight != 0.5):
            assert torch.equal(gradient, adversarial[name]), name
        else:
            torch.testing.assert_close(gradient, adversarial[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_every_record_weighs_one_whatever_the_share_of_top_losses(share: float) -> None:
    model, data = tiny(dropout=0.0), batch(rows=7)
    settings = AdversarialSettings(method="freelb", steps=3, radius=0.0, top_loss=share)
    plain, adversarial = gradients(model, Plain(), data), gradients(model, FreeLB(settings), data)
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, adversarial[name], rtol=1e-4, atol=1e-6)


def test_later_passes_see_the_records_with_the_highest_loss_only() -> None:
    model, data = tiny(dropout=0.0), batch(rows=7)
    seen: list[Tensor] = []
    forward = model.forward

    def observed(**inputs):
        output = forward(**inputs)
        seen.append(inputs["attention_mask"])
        return output

    model.forward = observed
    losses = LOSS.per_record(
        model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits, data.targets
    )
    seen.clear()
    settings = AdversarialSettings(method="freelb", steps=3, radius=1e-6, top_loss=0.5)
    first = FreeLB(settings).backward(model, data, LOSS, context())
    torch.testing.assert_close(first, losses, rtol=1e-4, atol=1e-5)
    hardest = losses.topk(4).indices.sort().values
    assert [mask.shape[0] for mask in seen] == [7, 4, 4]
    assert torch.equal(seen[1].sum(dim=1), data.attention_mask[hardest].sum(dim=1))


def test_all_passes_use_the_same_dropout_masks() -> None:
    model, data = tiny(dropout=0.5), batch()
    masks: list[Tensor] = []
    model.model.embeddings.drop.register_forward_hook(lambda m, i, output: masks.append(output == 0))
    FreeLB(AdversarialSettings(method="freelb", steps=3, weight=0.5)).backward(model, data, LOSS, context())
    assert len(masks) == 4
    assert all(torch.equal(masks[0], mask) for mask in masks[1:])
    before = masks[0]
    masks.clear()
    FreeLB(AdversarialSettings(method="freelb")).backward(model, data, LOSS, context())
    assert not torch.equal(before, masks[0])  # but the next step draws new ones


def test_perturbations_stay_in_the_ball_and_off_the_pads_and_rise() -> None:
    model, data = tiny(dropout=0.0), batch()
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight[0] = 1.0  # even where the pad's row is not 0
    inputs: list[Tensor] = []
    losses: list[Tensor] = []
    forward = model.forward

    def observed(**named):
        inputs.append(named["inputs_embeds"].detach().clone())
        output = forward(**named)
        losses.append(LOSS.per_record(output.logits, data.targets).detach())
        return output

    model.forward = observed
    settings = AdversarialSettings(method="freelb", steps=4, radius=0.1, step_size=0.06)
    FreeLB(settings).backward(model, data, LOSS, context())
    clean = embedding(data.input_ids).detach()
    real = data.attention_mask[:, :, None]
    limit = 0.1 * (clean * real).flatten(1).norm(dim=1)
    for disturbed in inputs:
        delta = disturbed - clean
        assert (delta * (1 - real) == 0).all()
        assert (delta.flatten(1).norm(dim=1) <= limit * (1 + 1e-5)).all()
    assert (inputs[3] - clean).flatten(1).norm(dim=1).min() > 0.9 * limit.min()
    assert losses[3].mean() > losses[0].mean()


def test_the_embedding_matrix_gets_the_gradient_of_every_pass() -> None:
    # The gradient at the disturbed point differs from the clean one, also in the embedding's rows.
    model, data = tiny(dropout=0.0), batch()
    name = "model.embeddings.tok_embeddings.weight"
    plain = gradients(model, Plain(), data)[name]
    disturbed = gradients(model, FreeLB(AdversarialSettings(method="freelb", radius=0.3)), data)[name]
    rows = data.input_ids[data.attention_mask.bool()].unique()
    assert (disturbed[rows].norm(dim=1) > 0).all()
    assert (disturbed - plain).norm() > 0.02 * plain.norm()
    assert (disturbed[rows].norm(dim=1) > 0.3 * plain[rows].norm(dim=1)).all()


CONFIGS = {
    "bert": BertConfig,
    "roberta": RobertaConfig,
    "electra": ElectraConfig,
    "distilbert": DistilBertConfig,
    "modernbert": ModernBertConfig,
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_any_encoder_works_and_matches_plain_training_without_radius(kind: str) -> None:
    sizes = (
        {"dim": 16, "hidden_dim": 16, "n_layers": 1, "n_heads": 2}
        if kind == "distilbert"
        else {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    )
    if kind == "electra":
        sizes["embedding_size"] = 8
    config = CONFIGS[kind](vocab_size=400, pad_token_id=0, num_labels=5, **sizes)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model, data = AutoModelForSequenceClassification.from_config(config).train(), batch()
    plain = gradients(model, Plain(), data)
    still = gradients(model, FreeLB(AdversarialSettings(method="freelb", radius=0.0)), data)
    moved = gradients(model, FreeLB(AdversarialSettings(method="freelb", radius=0.2)), data)
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, still[name], rtol=1e-4, atol=1e-6)
    assert any((moved[name] - plain[name]).abs().max() > 1e-4 for name in plain)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_autocast_and_loss_scale_change_the_gradient_by_rounding_only(norm) -> None:
    model, data = tiny(dropout=0.0), batch()
    method = FreeLB(AdversarialSettings(method="freelb", steps=3, norm=norm))
    exact = gradients(model, method, data)
    scaled = gradients(model, method, data, context(scale=lambda loss: loss * 1024.0))
    rounded = gradients(model, method, data, context(precision=Precision("bf16", "cpu")))
    for name, gradient in exact.items():
        torch.testing.assert_close(scaled[name] / 1024.0, gradient, rtol=1e-4, atol=1e-6)
        assert (rounded[name] - gradient).norm() <= 0.1 * gradient.norm() + 1e-4, name


tensors = st.integers(0, 1000).map(
    lambda seed: torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))
)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def size(values: Tensor, norm: str) -> Tensor:
    flat = values.flatten(1)
    return flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)


@given(
    tensors,
    tensors,
    st.floats(0, 10),
    st.floats(0, 5),
    st.sampled_from(["l2", "linf"]),
    st.sampled_from([1e-20, 1, 1e20]),
)
def test_an_ascent_step_ends_in_the_ball_and_leaves_pads(start, gradient, step, radius, norm, scale) -> None:
    radii = torch.tensor([radius, radius / 2, 0.0])
    delta = ascend(start * MASK[:, :, None], gradient * scale, torch.full((3,), step), radii, norm, MASK)
    assert torch.isfinite(delta).all()
    assert (size(delta, norm) <= radii * (1 + 1e-5)).all()
    assert (delta[MASK == 0] == 0).all()


@given(tensors, st.floats(0, 5), st.sampled_from(["l2", "linf"]))
def test_the_start_is_in_the_ball_and_off_the_pads(embedded, radius: float, norm) -> None:
    radii = torch.tensor([radius, radius / 2, 0.0])
    delta = initial_perturbation(embedded, MASK, radii, norm, torch.Generator().manual_seed(0))
    assert (size(delta, norm) <= radii * (1 + 1e-5)).all()
    assert (delta[MASK == 0] == 0).all()
    if radius > 0.1:
        assert (delta[0] != 0).all()


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_note_without_usable_gradient_is_not_moved(bad: float) -> None:
    gradient = torch.ones(2, 4, 5)
    gradient[0] = bad
    start = torch.full((2, 4, 5), 0.01)
    delta = ascend(start, gradient, torch.ones(2), torch.full((2,), 9.0), "l2", torch.ones(2, 4))
    assert torch.equal(delta[0], start[0])
    assert not torch.equal(delta[1], start[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"every": 0},
        {"norm": "l1"},
        {"radius": -1.0},
        {"step_size": -1.0},
        {"weight": 1.1},
        {"top_loss": 0.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError):
        AdversarialSettings(**wrong)


def test_the_step_size_follows_the_radius_when_it_is_left_out() -> None:
    assert AdversarialSettings(steps=4, radius=0.08).ascent == pytest.approx(0.02)
    assert AdversarialSettings(step_size=0.0).ascent == 0.0
    assert build_method(AdversarialSettings(method="freelb")).name == "freelb"
