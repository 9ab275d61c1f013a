"""FreeLB: numbers made by hand, properties, and what ties it to plain training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emr_fl_client.adversarial import AdversarialSettings, build_method, freelb
from emr_fl_client.adversarial.freelb import FreeLB
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.dataset.batch import Batch
from small_encoders import BCE, LOSS, TwoParameters, batch, context, gradients, tiny

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
        {"phases": (2, -1)},
        {"regularisation": -1.0},
        {"bregman": -1.0},
        {"start": 0.0},
        {"momentum": 1.0},
        {"teacher_every": 0},
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
