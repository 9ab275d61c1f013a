"""Which words a logit rests on: the completeness axiom, a model that can be explained by hand, words put together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import small_encoders
from emr_fl_shared.errors import ModelError
from emr_fl_shared.model.attribution import (
    TOLERANCE,
    attention_rollout,
    integrated_gradients,
    word_spans,
)
from emr_fl_shared.model.encoder import Encoder, build_model
from emr_fl_shared.model.tiny import TinyShape
from emr_fl_shared.text.tokeniser import tiny_tokenizer

TEXT = "患者咳嗽、发热3天，体温38.5℃，无胸痛，[HOSPITAL]就诊，BP 120/80mmHg。"


def sharpened(model: nn.Module, scale: float) -> None:
    """Larger weights, as after training: the logits bend on the way from the empty text."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)


def tiny(scale: float = 3.0, layers: int = 2) -> Encoder:
    shape = TinyShape(hidden=32, layers=layers, heads=2, intermediate=64)
    encoder = build_model("tiny", list("abc"), max_length=64, seed=1, shape=shape)
    sharpened(encoder.model, scale)
    return encoder


@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_completeness(scale: float) -> None:
    encoder = tiny(scale)
    for found in integrated_gradients(encoder, TEXT, [0, 1, 2]):
        difference = found.logit - found.baseline
        assert abs(difference) > 0.1
        assert sum(word.weight for word in found.words) == pytest.approx(difference, rel=TOLERANCE)
        assert found.error <= TOLERANCE
        assert found.logit == pytest.approx(logit(encoder, TEXT, found.label), abs=1e-4)


def logit(encoder: Encoder, text: str, label: int) -> float:
    encoder.model.eval()
    with torch.no_grad():
        ids = torch.tensor([encoder.tokenizer(text)["input_ids"]])
        return float(encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, label])


@pytest.mark.parametrize("kind", small_encoders.CONFIGS)
def test_completeness_of_every_kind_of_encoder(kind: str) -> None:
    model, tokenizer = small_encoders.encoder_of(kind), tiny_tokenizer(64)
    model.resize_token_embeddings(len(tokenizer))
    sharpened(model, 8.0)
    encoder = Encoder(kind, model, tokenizer, tuple("abcde"), 64)
    for found in integrated_gradients(encoder, TEXT, [0, 3]):
        assert sum(word.weight for word in found.words) == pytest.approx(
            found.logit - found.baseline, rel=0.05
        )
    shares = attention_rollout(encoder, TEXT)
    assert 0.0 < sum(word.weight for word in shares) < 1.0 and all(word.weight >= 0 for word in shares)
    assert model.training, "the mode is restored"
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


class SquareOfSum(nn.Module):
    """logit = (Σ e)²: bent, and its integral is known."""

    def __init__(self, tokenizer: object) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(tokenizer), 1)  # type: ignore[arg-type]
        self.embedding.weight.data.zero_()
        self.config = SimpleNamespace(pad_token_id=0)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=inputs_embeds.sum(dim=1) ** 2)


def test_weights_by_hand() -> None:
    """Along the way the gradient is 2 t (1 + 2): a word of embedding e gets e · 2 · 3 · ½ = 3 e."""
    tokenizer = tiny_tokenizer(16)
    model = SquareOfSum(tokenizer)
    for char, value in (("咳", 1.0), ("热", 2.0)):
        model.embedding.weight.data[tokenizer.convert_tokens_to_ids(char)] = value
    (found,) = integrated_gradients(Encoder("square", model, tokenizer, ("a",), 16), "咳，热天", [0])
    assert {word.word: pytest.approx(word.weight, abs=1e-5) for word in found.words} == {
        "咳": 3.0,
        "，": 0.0,
        "热": 6.0,
        "天": 0.0,
    }
    assert (found.logit, found.baseline) == (9.0, 0.0)


def test_what_the_model_does_not_read_has_no_weight() -> None:
    encoder = tiny()
    (found,) = integrated_gradients(encoder, "咳嗽，" * 60, [0])
    assert max(word.end for word in found.words) <= encoder.max_length


def test_words() -> None:
    found = [TEXT[start:end] for start, end in word_spans(TEXT)]
    assert found[:6] == ["患者", "咳嗽", "、", "发热", "3", "天"]
    assert {"38.5", "无", "胸痛", "[HOSPITAL]", "BP", "120", "mmHg"} <= set(found)
    assert "".join(found) == TEXT.replace(" ", "")
    assert word_spans("") == []


def test_every_token_goes_to_the_word_in_which_it_stands() -> None:
    encoder = tiny()
    (found,) = integrated_gradients(encoder, TEXT, [1])
    assert [word.word for word in found.words] == [TEXT[start:end] for start, end in word_spans(TEXT)]
    assert all(TEXT[word.start : word.end] == word.word for word in found.words)


def test_rollout_by_hand_for_one_layer() -> None:
    """One layer, pooled by the mean: the mean over rows of (A + I) / 2."""
    encoder = tiny(layers=1)
    shares = attention_rollout(encoder, "咳痛热")
    encoder.model.eval()
    encoder.model.set_attn_implementation("eager")
    ids = torch.tensor([encoder.tokenizer("咳痛热")["input_ids"]])
    with torch.no_grad():
        (attention,) = encoder.model(input_ids=ids, output_attentions=True).attentions
    rows = (attention[0].mean(dim=0).double() + torch.eye(5, dtype=torch.float64)) / 2
    np.testing.assert_allclose([word.weight for word in shares], rows.mean(dim=0)[1:4].numpy(), atol=1e-6)


def test_a_tokenizer_without_offsets_is_refused() -> None:
    encoder = tiny()
    slow = Encoder("slow", encoder.model, SimpleNamespace(is_fast=False), encoder.labels, 64)
    for explain in (lambda: integrated_gradients(slow, TEXT, [0]), lambda: attention_rollout(slow, TEXT)):
        with pytest.raises(ModelError):
            explain()
