"""What every method has to keep, whatever its paper: ball, pads, plain training without radius, parts of a batch, precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emr_fl_client.adversarial import AdversarialSettings, build_method, known_methods
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.mixup import mix
from emr_fl_client.training.step import OptimiserSettings, TrainingStep
from emr_fl_shared.model.precision import FP32, Precision
from small_encoders import CONFIGS, LOSS, batch, close, context, encoder_of, gradients, tiny

METHODS = [name for name in known_methods() if name != "none"]
EMBEDDINGS = "model.embeddings.tok_embeddings.weight"


def settings_of(name: str, **changes) -> AdversarialSettings:
    # SMART's proximal term has a teacher of its own from the second step on; here each method is called once.
    return AdversarialSettings(method=name, **{"radius": 0.2, "steps": 2, **changes})


def method_of(name: str, **changes):
    return build_method(settings_of(name, **changes))


def seen_by(model, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """(embeddings, mask) of every disturbed pass."""
    seen: list[tuple[Tensor, Tensor]] = []
    forward = model.forward

    def observed(**inputs):
        if "inputs_embeds" in inputs:
            seen.append((inputs["inputs_embeds"].detach().clone(), inputs["attention_mask"]))
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", observed)
    return seen


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("name", METHODS)
def test_without_radius_it_is_plain_training_to_the_last_bit(name: str, steps: int, weight: float) -> None:
    # In FreeLB's sum of five shares of 1/2 and 1/8 one addition is rounded; every other case is exact, dropout included.
    model, data = tiny(dropout=0.3), batch()
    plain = gradients(model, Plain(), data)
    method = method_of(name, radius=0.0, steps=steps, weight=weight)
    without = gradients(model, method, data)
    if (name, steps, weight) == ("freelb", 4, 0.5):
        close(plain, without)
    else:
        assert [n for n in plain if not torch.equal(plain[n], without[n])] == []


@pytest.mark.parametrize("changes", [{"weight": 0.5}, {"norm": "linf"}, {"relative": False}, {}], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_perturbations_stay_in_the_ball_and_off_the_pads(
    name: str, changes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = tiny(dropout=0.0), batch()
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        embedding.weight[0] = 1.0  # even where the pad's row is not 0
    clean = embedding(data.input_ids).detach()
    real = data.attention_mask[:, :, None]
    seen = seen_by(model, monkeypatch)
    method = method_of(name, steps=3, step_size=0.15, **changes)
    method.backward(model, data, LOSS, context())
    norm, relative = method.settings.norm, method.settings.relative
    size = (clean * real).flatten(1).norm(dim=1)
    if norm == "linf":
        size = size / (data.attention_mask.sum(dim=1) * 32).sqrt()
    limit = 0.2 * (size if relative else torch.ones_like(size))
    assert seen
    for disturbed, _ in seen:
        delta = disturbed - clean
        assert (delta * (1 - real) == 0).all()
        flat = delta.flatten(1)
        length = flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)
        assert (length <= limit * (1 + 1e-4) + 1e-6).all()
    assert (length >= 0.9 * limit).all()  # the last one reaches the border


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_or_the_divergence_rises_more_than_in_a_random_direction(name: str, monkeypatch) -> None:
    model, data = tiny(dropout=0.0), batch(rows=8)
    seen = seen_by(model, monkeypatch)
    method_of(name, steps=3).backward(model, data, LOSS, context())
    monkeypatch.undo()
    clean = model.get_input_embeddings()(data.input_ids).detach()
    delta = seen[-1][0] - clean
    random = (
        torch.randn(delta.shape, generator=torch.Generator().manual_seed(3)) * data.attention_mask[:, :, None]
    )
    random *= delta.flatten(1).norm(dim=1)[:, None, None] / random.flatten(1).norm(dim=1)[:, None, None]

    @torch.no_grad()
    def change(disturbance: Tensor) -> Tensor:
        def logits(embedded: Tensor) -> Tensor:
            return model(inputs_embeds=embedded, attention_mask=data.attention_mask).logits

        before, after = logits(clean), logits(clean + disturbance)
        if name in ("vat", "smart"):
            return (before - after).abs().sum()
        return (LOSS.per_record(after, data.targets) - LOSS.per_record(before, data.targets)).sum()

    assert change(delta) > 2 * change(random).abs()


@pytest.mark.parametrize("name", METHODS)
def test_the_embedding_matrix_gets_the_adversarial_gradient(name: str) -> None:
    # Of the adversarial pass itself: what remains after the clean pass is taken away still moves the notes' rows, and
    # those alone but for the pad's, which a pass over pads does not move at all.
    model, data = tiny(dropout=0.0), batch()
    plain = gradients(model, Plain(), data)[EMBEDDINGS]
    weight = 0.5
    share = 1 - weight if name in ("fgsm", "pgd", "freelb") else 1.0
    whole = gradients(model, method_of(name, weight=weight), data)[EMBEDDINGS]
    adversarial = whole - share * plain
    rows = data.input_ids[data.attention_mask.bool()].unique()
    assert (adversarial[rows].norm(dim=1) > 0).all()
    others = torch.ones(len(plain), dtype=torch.bool)
    others[rows] = False
    assert (whole[others] == 0).all()
    assert (whole - plain).norm() > 0.005 * plain.norm()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("name", METHODS)
def test_any_encoder_works_and_matches_plain_training_without_radius(kind: str, name: str) -> None:
    model, data = encoder_of(kind, dropout=0.1), batch()
    plain = gradients(model, Plain(), data)
    close(plain, gradients(model, method_of(name, radius=0.0), data))
    moved = gradients(model, method_of(name, regularisation=5.0), data)
    assert any((moved[n] - plain[n]).abs().max() > 1e-4 for n in plain)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", METHODS)
def test_autocast_and_loss_scale_change_the_gradient_by_rounding_only(name: str, norm: str) -> None:
    model, data = tiny(dropout=0.0), batch()
    method = method_of(name, norm=norm, steps=3, start=0.1)
    exact = gradients(model, method, data)
    scaled = gradients(
        method=method_of(name, norm=norm, steps=3, start=0.1),
        model=model,
        data=data,
        with_context=context(scale=lambda loss: loss * 1024.0),
    )
    rounded = gradients(
        model,
        method_of(name, norm=norm, steps=3, start=0.1),
        data,
        context(precision=Precision("bf16", "cpu")),
    )
    for key, gradient in exact.items():
        torch.testing.assert_close(scaled[key] / 1024.0, gradient, rtol=1e-3, atol=1e-5)
        assert (rounded[key] - gradient).norm() <= 0.1 * gradient.norm() + 1e-3, key


@pytest.mark.parametrize("name", ["none", *METHODS])
def test_an_overflow_under_fp16_skips_the_step(name: str) -> None:
    model, data = tiny(dropout=0.0), batch()
    runner = TrainingStep(
        model, LOSS, OptimiserSettings(), Precision("fp16", "cpu"), torch.Generator().manual_seed(0)
    )
    runner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    runner.context = replace(runner.context, scale=runner.scaler.scale)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    runner.run(data, method_of(name), 1e-3)
    assert runner.skipped == 1
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def accumulated(model, method, data: Batch, size: int | None) -> dict[str, Tensor]:
    """The gradient of one step whose batch is cut into parts of `size` records."""
    runner = TrainingStep(
        model,
        LOSS,
        OptimiserSettings(clip_norm=1e9),
        FP32,
        torch.Generator().manual_seed(0),
        micro_batch=size,
    )
    model.zero_grad(set_to_none=True)
    losses = runner._accumulate(data, method)
    assert losses.shape == (len(data.targets),)
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("name", ["none", *METHODS])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(name: str, size: int, weight: float) -> None:
    # Notes of one length, so that the parts draw what the whole draws; 7 records, so that parts differ in size.
    model, data = tiny(dropout=0.0), batch(rows=7)
    data = Batch(data.input_ids.clamp(min=20), torch.ones_like(data.attention_mask), data.targets)
    # A start far from the note, so that the directions of VAT and SMART are more than rounding.
    method = method_of(name, weight=weight, top_loss=1.0, start=0.2)
    assert method.per_record
    whole = accumulated(model, method, data, None)
    close(whole, accumulated(model, method_of(name, weight=weight, start=0.2), data, size), 3e-6)


def test_a_step_in_parts_moves_the_teacher_once() -> None:
    found = []
    for size in (None, 2):
        model, data = tiny(dropout=0.0), batch(rows=7)
        method = method_of("smart", regularisation=0.0, momentum=0.5)
        accumulated(model, method, data, size)
        with torch.no_grad():
            model.classifier.weight.add_(1.0)
        found.append(accumulated(model, method, data, size))
    close(*found, 3e-6)
    with torch.no_grad():
        model.classifier.weight.sub_(1.0)
    assert any((found[0][n] - g).abs().max() > 1e-3 for n, g in gradients(model, Plain(), data).items())


@pytest.mark.parametrize("name", METHODS)
def test_what_depends_on_the_other_records_says_so(name: str) -> None:
    # With `top_loss` a record's own gradient changes with the company that it keeps.
    model, data = tiny(dropout=0.0), batch(rows=6)
    data = Batch(data.input_ids.clamp(min=20), torch.ones_like(data.attention_mask), data.targets)
    method = method_of(name, top_loss=0.5, steps=2)
    assert not method.per_record
    whole = accumulated(model, method, data, None)
    alone = accumulated(model, method_of(name, top_loss=0.5, steps=2), data, 1)
    assert any((whole[n] - alone[n]).abs().max() > 1e-4 for n in whole)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "vat", "smart"])
def test_with_a_share_of_top_losses_every_record_still_weighs_one(name: str) -> None:
    model, data = tiny(dropout=0.0), batch(rows=7)
    plain = gradients(model, Plain(), data)
    for weight in (1.0, 0.5):
        method = method_of(name, radius=0.0, top_loss=0.4, weight=weight)
        close(plain, gradients(model, method, data))


@pytest.mark.parametrize("name", ["fgsm", "pgd", "vat", "smart"])
def test_disturbed_passes_see_the_records_with_the_highest_loss_only(name: str, monkeypatch) -> None:
    model, data = tiny(dropout=0.0), batch(rows=7)
    logits = model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
    losses = LOSS.per_record(logits, data.targets)
    chosen = losses.topk(3).indices.sort().values
    seen = seen_by(model, monkeypatch)
    first = method_of(name, top_loss=0.4).backward(model, data, LOSS, context())
    torch.testing.assert_close(first, losses.detach())
    disturbed = [mask for embedded, mask in seen if len(mask) < 7]
    assert disturbed
    for mask in disturbed:
        assert torch.equal(mask.sum(dim=1), data.attention_mask[chosen].sum(dim=1))


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "vat", "smart"])
def test_a_share_of_top_losses_is_the_method_on_those_and_plain_training_on_the_others(
    name: str, weight: float
) -> None:
    model, data = tiny(dropout=0.0), batch(rows=7)
    data = Batch(data.input_ids.clamp(min=20), torch.ones_like(data.attention_mask), data.targets)
    losses = LOSS.per_record(
        model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits, data.targets
    )
    chosen = losses.topk(3).indices.sort().values
    others = torch.tensor([row for row in range(7) if row not in chosen.tolist()])
    assert chosen.tolist() != [0, 1, 2]
    hard = gradients(model, method_of(name, weight=weight, start=0.2), data.rows(chosen))
    easy = gradients(model, Plain(), data.rows(others))
    found = gradients(model, method_of(name, weight=weight, start=0.2, top_loss=0.4), data)
    close({key: (3 * hard[key] + 4 * easy[key]) / 7 for key in hard}, found, 3e-6)


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("name", METHODS)
def test_all_passes_use_the_same_dropout_masks(name: str, weight: float) -> None:
    model, data = tiny(dropout=0.5), batch()
    masks: list[Tensor] = []
    model.model.embeddings.drop.register_forward_hook(lambda m, i, output: masks.append(output == 0))
    method = method_of(name, weight=weight)
    method.backward(model, data, LOSS, context())
    real = data.attention_mask.bool()
    assert len(masks) >= 2
    assert all(torch.equal(masks[0][real], mask[real]) for mask in masks[1:])
    before = masks[0]
    masks.clear()
    method.backward(model, data, LOSS, context())
    assert not torch.equal(before, masks[0])  # but the next step draws new ones


@pytest.mark.parametrize(
    ("name", "changes", "forward", "backward"),
    [
        ("none", {}, 1, 1),
        ("fgsm", {"weight": 0.5}, 2, 2),
        ("fgsm", {"weight": 1.0}, 2, 1),
        ("fgsm", {"weight": 1.0, "top_loss": 0.5}, 2, 2),
        ("pgd", {"steps": 3}, 4, 1),
        ("pgd", {"steps": 3, "weight": 0.5}, 5, 2),
        ("freelb", {"steps": 3}, 3, 3),
        ("freelb", {"steps": 3, "weight": 0.5}, 4, 4),
        ("vat", {"steps": 3}, 5, 2),
        ("smart", {"steps": 3}, 6, 1),
        ("smart", {"steps": 3, "bregman": 0.0}, 5, 1),
    ],
    ids=str,
)
def test_the_passes_are_those_of_the_documentation(name: str, changes, forward: int, backward: int) -> None:
    # SMART's two training passes share one call of backward. Gradients for δ alone are not calls of it.
    model, data = tiny(dropout=0.0), batch()
    calls: list[str] = []
    model.register_forward_hook(lambda *_: calls.append("F"))

    def scale(value: Tensor) -> Tensor:
        def counted() -> None:
            calls.append("B")

        observed = value * 1.0
        observed.backward = lambda: (counted(), Tensor.backward(observed))[1]  # type: ignore[method-assign]
        return observed

    method_of(name, **changes).backward(model, data, LOSS, context(scale=scale))
    assert (calls.count("F"), calls.count("B")) == (forward, backward)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_that_was_mixed_is_disturbed_as_mixed(name: str) -> None:
    model, data = tiny(dropout=0.3), mix(batch(), 0.4, np.random.default_rng(0))
    plain = gradients(model, Plain(), data)
    still = gradients(model, method_of(name, radius=0.0), data)
    assert all(torch.equal(plain[key], still[key]) for key in plain)
    moved = gradients(model, method_of(name), data)
    assert any((moved[key] - plain[key]).abs().max() > 1e-5 for key in plain)


@pytest.mark.parametrize("name", METHODS)
def test_labels_that_a_site_lacks_get_no_gradient(name: str) -> None:
    model, data = tiny(dropout=0.0), batch()
    loss = MultiLabelLoss(label_mask=torch.tensor([True, True, False, True, True]))
    method = method_of(name)
    for _ in range(2):  # the second time with a teacher that differs
        model.zero_grad(set_to_none=True)
        method.backward(model, data, loss, context())
        assert (model.classifier.weight.grad.abs().sum(dim=1) > 0).tolist() == [True, True, False, True, True]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01)


@pytest.mark.parametrize("name", METHODS)
def test_without_weight_there_is_nothing_adversarial(name: str) -> None:
    model, data = tiny(dropout=0.3), batch()
    plain = gradients(model, Plain(), data)
    without = method_of(name, weight=0.0, regularisation=0.0, bregman=0.0)
    assert all(torch.equal(plain[n], g) for n, g in gradients(model, without, data).items())
