"""A round of masked language modelling: what is minimised, by hand and by torch's own cross-entropy, and that it repeats itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emr_fl_client.adversarial import StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.pretraining import MaskedTokens, PretrainingSettings, pretrain_round
from emr_fl_client.training.step import OptimiserSettings
from emr_fl_shared.errors import DataError
from emr_fl_shared.model.masked_lm import MaskedLM, build_masked_lm
from emr_fl_shared.model.masking import IGNORED
from training_site import SMALL, site

TEXTS, _ = site(96)
SETTINGS = PretrainingSettings(batch_size=16, optimiser=OptimiserSettings(learning_rate=3e-3))


def masked(seed: int = 0) -> MaskedLM:
    return build_masked_lm("tiny", max_length=40, seed=seed, shape=SMALL)


def state(of: MaskedLM) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in of.model.state_dict().items()}


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(200, 400, (4, 8), generator=generator)
    targets = torch.full_like(ids, IGNORED)
    targets[0, 1], targets[0, 5], targets[1, 2], targets[3, 7] = 7, 8, 9, 10
    return Batch(ids, torch.ones_like(ids), targets)


def context() -> StepContext:
    return StepContext(torch.Generator().manual_seed(0))


def test_the_loss_is_the_mean_over_records_of_the_mean_over_their_masked_tokens() -> None:
    model = masked().model.eval()
    data = batch()
    losses = MaskedTokens().backward(model, data, MultiLabelLoss(), context())
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits = model(input_ids=data.input_ids, attention_mask=data.attention_mask).logits
    log_p = torch.log_softmax(logits, dim=-1)
    by_hand = torch.stack(
        [
            -(log_p[0, 1, 7] + log_p[0, 5, 8]) / 2,
            -log_p[1, 2, 9],
            log_p.new_zeros(()),  # nothing masked, nothing learned
            -log_p[3, 7, 10],
        ]
    )
    assert torch.allclose(losses, by_hand.detach(), atol=1e-5)
    by_hand.mean().backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(got[name], parameter.grad, atol=1e-6), name


def test_a_round_repeats_itself_to_the_last_bit() -> None:
    first, second = masked(), masked()
    torch.manual_seed(1)
    one = pretrain_round(first, TEXTS, SETTINGS, seed=5, round_number=2, rounds=3)
    torch.manual_seed(2)
    np.random.default_rng().random()
    other = pretrain_round(second, TEXTS, SETTINGS, seed=5, round_number=2, rounds=3)
    assert one.loss == other.loss
    assert all(torch.equal(tensor, state(second)[name]) for name, tensor in state(first).items())
    third = masked()
    pretrain_round(third, TEXTS, SETTINGS, seed=6, round_number=2, rounds=3)
    assert not torch.equal(state(third)["decoder.bias"], state(first)["decoder.bias"])


def test_it_learns_to_fill_in() -> None:
    model = masked()
    settings = replace(SETTINGS, epochs=1)
    losses = [
        pretrain_round(model, TEXTS, settings, seed=number, round_number=1 + number, rounds=8).loss
        for number in range(8)
    ]
    assert losses[-1] < 0.6 * losses[0]


def test_parts_give_the_same_gradient() -> None:
    whole, parts = masked(), masked()
    for of in (whole, parts):
        for module in of.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    settings = replace(SETTINGS, precision="fp32")
    pretrain_round(whole, TEXTS[:16], settings, seed=1)
    pretrain_round(parts, TEXTS[:16], replace(settings, micro_batch=5), seed=1)
    for name, tensor in state(whole).items():
        assert torch.allclose(tensor, state(parts)[name], atol=2e-4), name


@pytest.mark.parametrize("texts", [[], ["", "。", "[DATE]"]])
def test_nothing_to_learn_from_is_refused(texts: list[str]) -> None:
    model = masked()
    before = state(model)
    with pytest.raises(DataError, match="no text"):
        pretrain_round(model, texts, SETTINGS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(model).items())
