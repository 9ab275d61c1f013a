"""The baselines over word vectors: known by name, seeded, blind to padding, saved and loaded as any encoder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emr_fl_client.adversarial import AdversarialSettings, build_method, known_methods
from emr_fl_shared.config import settings_from
from emr_fl_shared.config.settings import LEARNING_RATES, TINY_ROUNDS
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.bilstm_attention import BiLstmAttention, BiLstmAttentionConfig
from emr_fl_shared.model.built_here import BUILT_HERE
from emr_fl_shared.model.encoder import (
    build_model,
    check_source,
    encode,
    label_row_parameters,
    predict_logits,
)
from emr_fl_shared.model.storage import load_model, save_model
from emr_fl_shared.model.textcnn import TextCnn, TextCnnConfig
from small_encoders import BCE, batch, close, context, gradients

BASELINES = [name for name in BUILT_HERE if name != "tiny"]
TAXONOMY = column_taxonomy(["a", "b", "c", "d", "e"])
TEXTS = ["咳嗽3天，伴发热38.5℃", "痛", "[PATIENT_NAME]，头晕2天，无恶心、呕吐，无视物旋转，今来院就诊"]


@pytest.mark.parametrize("name", BASELINES)
def test_seeded_and_of_the_size_of_tiny(name: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = build_model(name, TAXONOMY.names, seed=1)
    assert torch.equal(torch.rand(2), expected), "the global generator is left alone"
    again, other = (build_model(name, TAXONOMY.names, seed=seed).model.state_dict() for seed in (1, 2))
    own = first.model.state_dict()
    assert all(torch.equal(own[key], again[key]) for key in own)
    assert any(not torch.equal(own[key], other[key]) for key in own)
    assert 0.8 < first.parameters / build_model("tiny", TAXONOMY.names).parameters < 1.3
    check_source(name)


@pytest.mark.parametrize("name", BASELINES)
def test_each_label_starts_near_one_in_k(name: str) -> None:
    encoder = build_model(name, [str(label) for label in range(50)])
    logits = predict_logits(encoder.model, encode(encoder.tokenizer, TEXTS, 128))
    assert np.abs(logits + math.log(49)).max() < 0.5


@pytest.mark.parametrize("name", BASELINES)
def test_padding_changes_nothing(name: str) -> None:
    encoder = build_model(name, TAXONOMY.names, seed=3)
    ids = encode(encoder.tokenizer, TEXTS, 128)
    alone = np.concatenate([predict_logits(encoder.model, [row]) for row in ids])
    np.testing.assert_allclose(predict_logits(encoder.model, ids), alone, atol=2e-6)
    encoder.model.eval()
    wide = torch.zeros((1, 90), dtype=torch.long)
    mask = torch.zeros_like(wide)
    wide[0, : len(ids[0])], mask[0, : len(ids[0])] = torch.tensor(ids[0]), 1
    disturbed = encoder.model.embeddings(wide) + 9.0 * (1 - mask[:, :, None])
    with torch.no_grad():
        logits = encoder.model(inputs_embeds=disturbed, attention_mask=mask).logits
    np.testing.assert_allclose(logits.numpy(), alone[:1], atol=2e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_the_saved_folder_comes_back(name: str, tmp_path: Path) -> None:
    encoder = build_model(name, TAXONOMY.names, max_length=48, seed=1)
    save_model(tmp_path / "model", encoder, TAXONOMY, Decision("threshold", 0.3, 1.5), "# card\n")
    loaded = load_model(tmp_path / "model").encoder
    assert type(loaded.model) is type(encoder.model) and loaded.max_length == 48
    ids = encode(encoder.tokenizer, TEXTS, 48)
    np.testing.assert_array_equal(
        predict_logits(loaded.model, ids), predict_logits(encoder.model, ids), strict=True
    )
    from_folder = build_model(str(tmp_path / "model"), ["x", "y"])
    assert predict_logits(from_folder.model, ids).shape == (3, 2)


@pytest.mark.parametrize("name", BASELINES)
def test_labels_are_rows_of_the_output_layer(name: str) -> None:
    model = build_model(name, TAXONOMY.names).model
    assert label_row_parameters(model, 5) == ("classifier.weight", "classifier.bias")


@pytest.mark.parametrize("method", known_methods())
@pytest.mark.parametrize("name", BASELINES)
def test_every_method_of_adversarial_training_reaches_every_parameter(name: str, method: str) -> None:
    model = build_model(name, list("abcde")).model.train()
    settings = AdversarialSettings(method=method, steps=2, radius=0.2)
    found = gradients(model, build_method(settings), batch(rows=12))
    assert found.keys() == {key for key, _ in model.named_parameters()}
    for key, gradient in found.items():
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0, key


@pytest.mark.parametrize("name", BASELINES)
def test_freelb_without_radius_is_plain_training(name: str) -> None:
    model = build_model(name, list("abcde")).model.train()
    plain = gradients(model, build_method(AdversarialSettings(method="none")), batch())
    none = AdversarialSettings(method="freelb", steps=3, radius=0.0)
    close(gradients(model, build_method(none), batch()), plain)


def test_textcnn_is_kims_formula() -> None:
    """One note of three tokens, a window of two, two feature maps: ReLU(w · x + b) by hand, its maximum, the output layer."""
    config = TextCnnConfig(
        windows=(2,), filters=2, dropout=0.0, vocab_size=5, hidden_size=2, num_labels=2, pad_token_id=0
    )
    model = TextCnn(config).eval()
    with torch.no_grad():
        model.embeddings.weight.copy_(
            torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [9.0, 9.0]])
        )
        model.convolutions[0].weight.copy_(  # [maps, first vector and second vector]
            torch.tensor([[1.0, 0.0, 0.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])
        )
        model.convolutions[0].bias.copy_(torch.tensor([0.5, 0.0]))
        model.classifier.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
        model.classifier.bias.copy_(torch.tensor([0.0, -1.0]))
        logits = model(
            input_ids=torch.tensor([[1, 2, 3, 0]]), attention_mask=torch.tensor([[1, 1, 1, 0]])
        ).logits
    # map 1, by first token: 1 + 2, 0 + 1, 3 + 0, each + .5, so 3.5; map 2 is negative everywhere, so 0
    torch.testing.assert_close(logits, torch.tensor([[3.5, 6.0]]))


def test_bilstm_attention_is_zhous_formula() -> None:
    """The LSTM token by token with torch's cell, then eq. 8–12 as they stand."""
    config = BiLstmAttentionConfig(
        units=3, dropout=(0.0, 0.0, 0.0), vocab_size=6, hidden_size=4, num_labels=2, pad_token_id=0
    )
    torch.manual_seed(0)
    model = BiLstmAttention(config).eval()
    ids = torch.tensor([[3, 1, 5]])
    vectors = model.embeddings(ids)[0]

    def states(order: list[int], suffix: str) -> dict[int, torch.Tensor]:
        cell = torch.nn.LSTMCell(4, 3)
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, part).data.copy_(getattr(model.lstm, f"{part}_l0{suffix}"))
        hidden, memory = torch.zeros(3), torch.zeros(3)
        found = {}
        for position in order:
            hidden, memory = cell(vectors[position], (hidden, memory))
            found[position] = hidden
        return found

    there, back = states([0, 1, 2], ""), states([2, 1, 0], "_reverse")
    both = torch.stack([there[position] + back[position] for position in range(3)])
    weights = (torch.tanh(both) @ model.attention.weight[0]).softmax(dim=0)
    note = torch.tanh(weights @ both)
    expected = F.linear(note, model.classifier.weight, model.classifier.bias)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits[0], expected)


@pytest.mark.parametrize("name", BASELINES)
def test_it_learns_what_separates_the_labels(name: str) -> None:
    encoder = build_model(name, list("abcde"), seed=0)
    data = batch(rows=24, seed=1)
    optimiser = torch.optim.AdamW(encoder.model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        losses.append(
            build_method(AdversarialSettings()).backward(encoder.model.train(), data, BCE, context())
        )
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1].mean() < 0.3 * losses[0].mean()


@pytest.mark.parametrize("name", BUILT_HERE)
def test_random_weights_get_the_settings_measured_for_them(name: str) -> None:
    resolved = settings_from({"model": {"name": name}}).resolved()
    assert resolved.federation.rounds == TINY_ROUNDS
    assert resolved.training.learning_rate == LEARNING_RATES[name] > 1e-3
