"""Noise consistency beside a method; its gradient is compared with an oracle in tests/oracles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emr_fl_client.adversarial import AdversarialSettings, ConsistencySettings, build_method
from emr_fl_client.adversarial.consistency import NoiseConsistency
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.mixup import mix
from small_encoders import LOSS, batch, context, gradients, tiny


def with_term(method: str = "none", weight: float = 2.0, **changes) -> NoiseConsistency:
    settings = AdversarialSettings(method=method, **changes)
    return NoiseConsistency(build_method(settings), ConsistencySettings(weight=weight))


def copied(rows: list[int], changed: bool = True) -> Batch:
    """A batch whose `rows` have a copy, changed in the first token."""
    data = batch()
    ids, mask = data.input_ids.clone(), torch.zeros_like(data.attention_mask)
    mask[rows] = data.attention_mask[rows]
    if changed:
        ids[:, 0] = 411
    return replace(data, noised_ids=ids * mask, noised_mask=mask)


@pytest.mark.parametrize("method", ["none", "freelb"])
def test_without_copies_it_is_the_method_to_the_last_bit(method: str) -> None:
    model, data = tiny(dropout=0.3), batch()
    alone = gradients(model, with_term(method).method, data)
    for without in (data, copied([])):
        beside = gradients(model, with_term(method), without)
        assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_unchanged_copies_add_nothing_to_the_last_bit() -> None:
    model, data = tiny(dropout=0.3), batch()
    plain = gradients(model, with_term().method, data)
    beside = gradients(model, with_term(), copied(list(range(6)), changed=False))
    assert all(torch.equal(plain[name], beside[name]) for name in plain)


@pytest.mark.parametrize("method", ["none", "pgd"])
def test_the_term_grows_with_its_weight_and_adds_up_over_records(method: str) -> None:
    model = tiny(dropout=0.0)
    base = gradients(model, with_term(method).method, batch())
    both = gradients(model, with_term(method), copied([1, 4]))
    twice = gradients(model, with_term(method, weight=4.0), copied([1, 4]))
    first, second = (gradients(model, with_term(method), copied([row])) for row in (1, 4))
    assert any((both[name] - base[name]).abs().max() > 1e-5 for name in base)
    for name, gradient in base.items():
        torch.testing.assert_close(twice[name] - gradient, 2 * (both[name] - gradient), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(
            both[name] - gradient, first[name] + second[name] - 2 * gradient, rtol=1e-3, atol=1e-6
        )


def test_a_mixed_batch_has_no_copies() -> None:
    model, data = tiny(dropout=0.0), mix(copied([0, 1, 2]), 0.4, np.random.default_rng(0))
    plain = gradients(model, with_term().method, data)
    beside = gradients(model, with_term(), data)
    assert all(torch.equal(plain[name], beside[name]) for name in plain)


def test_the_losses_are_those_of_the_notes() -> None:
    model, data = tiny(dropout=0.0), copied([0, 1, 2])
    logits = model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
    first = with_term().backward(model, data, LOSS, context())
    torch.testing.assert_close(first, LOSS.per_record(logits, data.targets).detach())


@pytest.mark.parametrize(("top_loss", "expected"), [(1.0, True), (0.5, False)])
def test_a_copy_is_made_of_its_own_record_alone(top_loss: float, expected: bool) -> None:
    assert with_term("freelb", top_loss=top_loss).per_record is expected
    assert with_term("none").per_record


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"probability": 1.5}], ids=str)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ValueError):
        ConsistencySettings(**wrong)
