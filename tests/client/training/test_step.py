"""One step: clipping after unscaling, decay where it belongs, a stop on what is not finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training import step
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.step import OptimiserSettings, TrainingStep, build_optimiser, clip_gradients
from emr_fl_shared.errors import ModelError
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.precision import FP32, Precision
from emr_fl_shared.model.tiny import TinyShape

SMALL = TinyShape(hidden=32, layers=1, heads=2, intermediate=32, dropout=0.0)


def model() -> nn.Module:
    return build_model("tiny", ["a", "b", "c"], max_length=16, seed=0, shape=SMALL).model


def batch() -> Batch:
    ids = torch.arange(20, 36).reshape(2, 8)
    return Batch(ids, torch.ones_like(ids), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))


def step_over(encoder: nn.Module, precision: Precision = FP32, **optimiser):
    return TrainingStep(
        encoder, MultiLabelLoss(), OptimiserSettings(**optimiser), precision, torch.Generator().manual_seed(0)
    )


def test_the_gradient_is_clipped_to_the_bound() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([weight], 1.0).item() == pytest.approx(5.0)
    torch.testing.assert_close(weight.grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("precision", [FP32, Precision("fp16", "cpu")], ids=["fp32", "fp16-with-scaler"])
def test_gradients_are_unscaled_before_they_are_clipped(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = model()
    exact = MultiLabelLoss()(encoder(input_ids=batch().input_ids).logits, batch().targets)
    exact.backward()
    expected = torch.stack([p.grad.norm() for p in encoder.parameters()]).norm().item()
    runner = step_over(encoder, precision, clip_norm=0.05)  # far below the norm of the gradient
    if precision.needs_scaler:  # the scaler's first scale of 2¹⁶ may overflow, which is another test
        runner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**6)
        runner.context = type(runner.context)(
            runner.context.generator, runner.scaler.scale, runner.context.precision
        )
    seen: list[float] = []

    def observed(parameters, largest: float):
        parameters = list(parameters)
        norm = clip_gradients(parameters, largest)
        after = torch.stack([p.grad.norm() for p in parameters]).norm()
        seen.extend([float(norm), float(after)])
        return norm

    monkeypatch.setattr(step, "clip_gradients", observed)
    before = encoder.classifier.weight.detach().clone()
    runner.run(batch(), Plain(), 1e-3)
    # were the loss's scale still in the gradient, the norm seen by the clipper would show it
    assert seen == [pytest.approx(expected, rel=0.05), pytest.approx(0.05, abs=1e-4)]
    assert not torch.equal(before, encoder.classifier.weight)
    assert runner.skipped == 0


def test_an_overflow_under_fp16_skips_the_step_and_halves_the_scale() -> None:
    encoder = model()
    runner = step_over(encoder, Precision("fp16", "cpu"))
    runner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    runner.context = type(runner.context)(
        runner.context.generator, runner.scaler.scale, runner.context.precision
    )
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    runner.run(batch(), Plain(), 1e-3)
    assert runner.skipped == 1
    assert runner.scaler.get_scale() == 2.0**39
    assert all(torch.equal(before[name], p) for name, p in encoder.named_parameters())


def test_a_loss_that_is_not_finite_stops_before_anything_moves() -> None:
    encoder = model()
    with torch.no_grad():
        encoder.classifier.bias[0] = float("nan")
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    with pytest.raises(ModelError, match="diverged"):
        step_over(encoder).run(batch(), Plain(), 1e-3)
    assert all(torch.equal(before[n], p) for n, p in encoder.named_parameters() if n != "classifier.bias")


@pytest.mark.parametrize("precision", [FP32, Precision("fp16", "cpu")], ids=["fp32", "fp16-with-scaler"])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(precision: Precision) -> None:
    whole, parts = model(), model()
    ids = torch.arange(20, 60).reshape(5, 8)
    data = Batch(ids, torch.ones_like(ids), (torch.arange(15).reshape(5, 3) % 2).float())
    losses = []
    for encoder, size in ((whole, None), (parts, 2)):
        runner = TrainingStep(
            encoder, MultiLabelLoss(), OptimiserSettings(), precision, torch.Generator(), micro_batch=size
        )
        if precision.needs_scaler:
            runner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**6)
            runner.context = type(runner.context)(
                runner.context.generator, runner.scaler.scale, runner.context.precision
            )
        losses.append(runner.run(data, Plain(), 0.0))  # a rate of 0 leaves the gradient to be looked at
        assert runner.skipped == 0
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=1e-4)
    for left, right in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, rtol=0.02, atol=1e-5 if precision is FP32 else 2e-3)


def test_biases_and_normalisation_do_not_decay() -> None:
    encoder = model()
    decayed, kept = build_optimiser(encoder, OptimiserSettings(weight_decay=0.3)).param_groups
    names = {id(p): name for name, p in encoder.named_parameters()}
    assert decayed["weight_decay"] == 0.3
    assert kept["weight_decay"] == 0.0
    assert all("norm" in names[id(p)] or names[id(p)].endswith("bias") for p in kept["params"])
    assert not any("norm" in names[id(p)] or names[id(p)].endswith("bias") for p in decayed["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


def test_the_rate_is_the_one_given() -> None:
    encoder = model()
    before = encoder.classifier.weight.detach().clone()
    step_over(encoder, weight_decay=0.0).run(batch(), Plain(), 1e-3)
    # AdamW's first step moves every element with a gradient by the learning rate
    moved = (encoder.classifier.weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-2, atol=1e-6)
