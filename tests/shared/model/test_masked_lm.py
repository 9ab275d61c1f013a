"""The encoder with another head: tied, given only the places that are asked for, carried over whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

from emr_fl_shared.errors import ModelError
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.masked_lm import build_masked_lm, carry_over, check_head, masked_logits
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.model.tiny import TinyShape
from emr_fl_shared.text.tokeniser import tiny_tokenizer

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
KINDS = {
    "bert": BertConfig(vocab_size=400, **SIZES),
    "roberta": RobertaConfig(vocab_size=400, **SIZES),
    "electra": ElectraConfig(vocab_size=400, embedding_size=8, **SIZES),
    "albert": AlbertConfig(vocab_size=400, embedding_size=8, **SIZES),
    "distilbert": DistilBertConfig(vocab_size=400, dim=16, hidden_dim=16, n_layers=1, n_heads=2),
    "modernbert": ModernBertConfig(vocab_size=400, pad_token_id=0, **SIZES),
}
SMALL = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)


def masked_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(KINDS[kind]).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_at_some_places_are_those_of_all_logits(kind: str) -> None:
    model = masked_of(kind)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 400, (3, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    there = torch.rand(ids.shape, generator=generator) < 0.3
    with torch.no_grad():
        every = model(input_ids=ids, attention_mask=mask).logits
        found = masked_logits(model, ids, mask, there)
        assert torch.allclose(found, every[there], atol=1e-6)
        # and the hook is gone again
        assert model(input_ids=ids, attention_mask=mask).logits.shape == every.shape


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_takes_over_the_whole_encoder(kind: str) -> None:
    masked = masked_of(kind)
    torch.manual_seed(5)
    classifier = AutoModelForSequenceClassification.from_config(KINDS[kind])
    assert carry_over(classifier, masked) > 5
    own = classifier.base_model.state_dict()
    for name, tensor in masked.base_model.state_dict().items():
        assert torch.equal(own[name], tensor), name


def test_another_encoder_is_refused() -> None:
    with pytest.raises(ModelError, match="same encoder"):
        carry_over(AutoModelForSequenceClassification.from_config(KINDS["roberta"]), masked_of("bert"))


def test_tiny_is_the_encoder_of_classification_with_a_tied_head() -> None:
    masked = build_masked_lm("tiny", max_length=32, seed=3, shape=SMALL)
    again = build_masked_lm("tiny", max_length=32, seed=3, shape=SMALL)
    classifier = build_model("tiny", ["a", "b"], max_length=32, seed=4, shape=SMALL)
    assert masked.model.decoder.weight is masked.model.get_input_embeddings().weight
    for name, array in tensors_of(masked.model).items():
        assert (array == tensors_of(again.model)[name]).all(), name
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    carry_over(classifier.model, masked.model)
    moved = {
        name
        for name, tensor in classifier.model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    kept = set(before) - moved
    assert any("tok_embeddings" in name for name in moved)
    assert any(name.startswith("classifier.") for name in kept)


def folder_of(path: Path, model: torch.nn.Module) -> str:
    tiny_tokenizer(64).save_pretrained(path)
    model.save_pretrained(path)
    return str(path)


def bert(heads: type) -> torch.nn.Module:
    tokenizer = tiny_tokenizer(64)
    torch.manual_seed(0)
    return heads.from_config(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SIZES))


def test_a_folder_with_a_head_and_one_without(tmp_path: Path) -> None:
    with_head = build_masked_lm(folder_of(tmp_path / "with", bert(AutoModelForMaskedLM)), only_local=True)
    assert with_head.untrained == ()
    assert check_head(with_head, where="x") is with_head
    assert with_head.model.cls.predictions.decoder.weight is with_head.model.get_input_embeddings().weight
    without = build_masked_lm(folder_of(tmp_path / "without", bert(AutoModelForSequenceClassification)))
    assert without.untrained
    with pytest.raises(ModelError, match="no trained masked") as raised:
        check_head(without, where="sites.a.rewriting.masked_lm")
    assert raised.value.where == "sites.a.rewriting.masked_lm"


def test_a_hub_name_is_not_fetched_where_a_folder_is_needed() -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        build_masked_lm("hfl/chinese-roberta-wwm-ext", only_local=True)
