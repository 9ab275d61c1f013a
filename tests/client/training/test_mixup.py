"""MixUp on word embeddings: numbers made by hand, pads, and what ties it to plain training and to FreeLB."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from emr_fl_client.adversarial import AdversarialSettings, StepContext, build_method
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.forward import embed, logits_of
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.mixup import mix, mixed_with
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tiny import TinyShape

LOSS = MultiLabelLoss()
SWAPPED = torch.tensor([1, 0])
METHODS = {
    "plain": AdversarialSettings(),
    "freelb": AdversarialSettings(method="freelb", radius=0.1),
    "freelb-top-loss": AdversarialSettings(method="freelb", radius=0.1, top_loss=0.5),
    "freelb-with-clean": AdversarialSettings(method="freelb", radius=0.1, weight=0.5),
}


def tiny(dropout: float = 0.0) -> nn.Module:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32, dropout=dropout)
    return build_model("tiny", list("abcde"), max_length=32, seed=0, shape=shape).model.train()


def batch(rows: int = 6, seed: int = 0, width: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, width + 1, (rows,), generator=generator)
    mask = (torch.arange(width)[None, :] < lengths[:, None]).long()
    ids = torch.randint(20, 400, (rows, width), generator=generator) * mask
    return Batch(ids, mask, (torch.rand(rows, 5, generator=generator) < 0.3).float())


def gradients(model: nn.Module, data: Batch, method: AdversarialSettings) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    context = StepContext(torch.Generator().manual_seed(0))
    build_method(method).backward(model, data, LOSS, context)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class Lookup(nn.Module):
    """Embeddings of one dimension: token t is the number t, the pad (0) is 100."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.tensor([[100.0], [1.0], [2.0], [3.0], [4.0]]))

    def get_input_embeddings(self) -> nn.Module:
        return self.table


def test_two_notes_by_hand() -> None:
    # notes (1, 2) and (3, 4, 4) in a rectangle of 4, shares 3/4 and 2/5
    ids = torch.tensor([[1, 2, 0, 0], [3, 4, 4, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    mixed = mixed_with(Batch(ids, mask, targets), SWAPPED, torch.tensor([0.75, 0.4]))
    # ¾·1 + ¼·3, ¾·2 + ¼·4, ¼·4, pad  |  .4·3 + .6·1, .4·4 + .6·2, .4·4, pad
    expected = torch.tensor([[1.5, 2.5, 1.0, 100.0], [1.8, 2.8, 1.6, 100.0]])
    torch.testing.assert_close(embed(Lookup(), mixed)[:, :, 0], expected)
    assert mixed.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    torch.testing.assert_close(mixed.targets, torch.tensor([[1.0, 0.25], [1.0, 0.4]]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000))
def test_masks_are_united_pads_are_untouched_and_targets_stay_between_both(rows: int, seed: int) -> None:
    model, data = tiny(), batch(rows, seed)
    generator = np.random.default_rng(seed)
    mixed = mix(data, 0.4, generator)
    again = np.random.default_rng(seed)
    partner = torch.from_numpy(again.permutation(rows))
    assert torch.equal(mixed.attention_mask, data.attention_mask | data.attention_mask[partner])
    low, high = (pick(data.targets, data.targets[partner]) for pick in (torch.minimum, torch.maximum))
    assert ((mixed.targets >= low - 1e-6) & (mixed.targets <= high + 1e-6)).all()
    pads = mixed.attention_mask == 0
    assert torch.equal(embed(model, mixed)[pads], embed(model, data)[pads])
    itself = partner == torch.arange(rows)
    assert torch.equal(embed(model, mixed)[itself], embed(model, data)[itself])
    assert torch.equal(mixed.targets[itself], data.targets[itself])


def test_pads_of_the_partner_do_not_reach_the_logits() -> None:
    model, data = tiny().eval(), batch()
    partner, share = torch.tensor([3, 4, 5, 0, 1, 2]), torch.full((6,), 0.3)
    noise = torch.randint(20, 400, data.input_ids.shape, generator=torch.Generator().manual_seed(1))
    filled = replace(data, input_ids=torch.where(data.attention_mask > 0, data.input_ids, noise))
    clean, dirty = (logits_of(model, mixed_with(b, partner, share)) for b in (data, filled))
    torch.testing.assert_close(clean, dirty)


@pytest.mark.parametrize("method", METHODS)
def test_a_share_of_one_is_training_without_mixing_to_the_last_bit(method: str) -> None:
    model, data = tiny(dropout=0.1), batch()
    partner = torch.tensor([1, 2, 3, 4, 5, 0])
    mixed = mixed_with(data, partner, torch.ones(6))
    assert torch.equal(mixed.attention_mask, data.attention_mask)
    plain = gradients(model, data, METHODS[method])
    got = gradients(model, mixed, METHODS[method])
    assert all(torch.equal(plain[name], got[name]) for name in plain)


def test_a_share_of_zero_is_the_partner() -> None:
    model, data = tiny().eval(), batch()
    partner = torch.tensor([1, 2, 3, 4, 5, 0])
    mixed = mixed_with(data, partner, torch.zeros(6))
    torch.testing.assert_close(logits_of(model, mixed), logits_of(model, data)[partner])
    assert torch.equal(mixed.targets, data.targets[partner])


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_with_and_without_freelb_and_both_notes_are_learned_from(method: str) -> None:
    model, data = tiny(), batch()
    partner = torch.tensor([1, 2, 3, 4, 5, 0])
    mixed = mixed_with(data, partner, torch.full((6,), 0.5))
    got = gradients(model, mixed, METHODS[method])
    assert all(torch.isfinite(gradient).all() for gradient in got.values())
    seen = got["model.embeddings.tok_embeddings.weight"].abs().sum(dim=1) > 0
    assert seen[data.input_ids[data.attention_mask > 0]].all()


def test_freelb_without_radius_is_plain_training_on_mixed_notes() -> None:
    model, mixed = tiny(), mix(batch(), 0.4, np.random.default_rng(0))
    plain = gradients(model, mixed, METHODS["plain"])
    freelb = gradients(model, mixed, AdversarialSettings(method="freelb", steps=1, radius=0.0))
    assert all(torch.equal(plain[name], freelb[name]) for name in plain)


def test_a_part_of_a_mixed_batch_is_the_same_mixture() -> None:
    model, mixed = tiny().eval(), mix(batch(), 0.4, np.random.default_rng(0))
    chosen = torch.tensor([1, 4])
    part = mixed.rows(chosen)
    torch.testing.assert_close(logits_of(model, part), logits_of(model, mixed)[chosen])
    assert part.input_ids.shape[1] == part.attention_mask.sum(dim=1).max()
