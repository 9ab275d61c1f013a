"""Building an encoder: `tiny`, local folders of any architecture, and what goes wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizerFast,
    ElectraConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from emr_fl_shared.errors import ModelError
from emr_fl_shared.model.encoder import (
    build_model,
    check_source,
    encode,
    label_row_parameters,
    output_layer,
    position_limit,
    predict_logits,
)
from emr_fl_shared.model.tiny import TinyShape

LABELS = ["高血压", "2型糖尿病", "急性上呼吸道感染"]
SMALL = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
TEXTS = ["咳嗽3天，伴发热", "头晕", "多饮多尿半年余，空腹血糖9.8mmol/L，否认胸痛", ""]


def small_tokenizer() -> BertTokenizerFast:
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"咳嗽天伴发热头晕多饮尿半年余空腹血糖否认胸痛3，",
    ]
    return BertTokenizerFast(vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))})


def folder_of(kind: str, path: Path, **changes: object) -> Path:
    """A local encoder with random weights and a head of two labels."""
    tokenizer = small_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "pad_token_id": tokenizer.pad_token_id,
        "num_labels": 2,
        **changes,
    }
    config = {"bert": BertConfig, "roberta": RobertaConfig, "electra": ElectraConfig}[kind](**sizes)
    if kind == "electra":
        config.embedding_size = 16
    AutoModelForSequenceClassification.from_config(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_tiny_is_an_ordinary_multi_label_bert() -> None:
    encoder = build_model("tiny", LABELS, max_length=64, shape=SMALL)
    assert isinstance(encoder.model, ModernBertForSequenceClassification)
    assert encoder.model.config.problem_type == "multi_label_classification"
    assert encoder.model.config.id2label == dict(enumerate(LABELS))
    assert encoder.model.config.max_position_embeddings == encoder.max_length == 64
    assert encoder.model.get_input_embeddings().num_embeddings == len(encoder.tokenizer)
    assert encoder.parameters == sum(p.numel() for p in encoder.model.parameters())


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = build_model("tiny", LABELS, seed=1, shape=SMALL).model.state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = build_model("tiny", LABELS, seed=1, shape=SMALL).model.state_dict()
    other = build_model("tiny", LABELS, seed=2, shape=SMALL).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_a_local_folder_of_any_encoder_gets_a_fresh_seeded_head(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / kind)
    encoder = build_model(str(folder), LABELS, max_length=32, seed=3)
    again = build_model(str(folder), LABELS, max_length=32, seed=3)
    _, head = output_layer(encoder.model, 3)
    _, same = output_layer(again.model, 3)
    assert torch.equal(head.weight, same.weight)
    assert encoder.model.config.num_labels == 3
    assert predict_logits(encoder.model, encode(encoder.tokenizer, TEXTS, 32)).shape == (4, 3)
    body = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    kept = "embeddings.word_embeddings.weight"
    name = next(key for key in body if key.endswith(kept))
    rows = len(body[name])  # placeholders were added behind them
    assert torch.equal(encoder.model.state_dict()[name][:rows], body[name])
    assert "[PATIENT_NAME]" in encoder.tokenizer.get_vocab()


def test_a_text_longer_than_the_model_is_cut_to_its_positions(tmp_path: Path) -> None:
    folder = folder_of("roberta", tmp_path / "short", max_position_embeddings=22)
    encoder = build_model(str(folder), LABELS, max_length=128)
    ids = encode(encoder.tokenizer, ["咳" * 100, "咳" * 9], encoder.max_length)
    assert encoder.max_length == len(ids[0]) == position_limit(encoder.model)
    assert encoder.max_length < 22  # RoBERTa counts positions from behind the pad index
    assert np.isfinite(predict_logits(encoder.model, ids)).all()


def _empty(path: Path) -> str:
    path.mkdir()
    return str(path)


def _without_weights(path: Path) -> str:
    (folder_of("bert", path) / "model.safetensors").unlink()
    return str(path)


def _pickle_only(path: Path) -> str:
    (folder_of("bert", path) / "model.safetensors").rename(path / "pytorch_model.bin")
    return str(path)


def _broken_weights(path: Path) -> str:
    (folder_of("bert", path) / "model.safetensors").write_bytes(b"not safetensors")
    return str(path)


def _not_json(path: Path) -> str:
    (folder_of("bert", path) / "config.json").write_text("{", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: str(path), "no such model folder"),
        (_empty, "no config.json"),
        (_without_weights, "has no weights"),
        (_pickle_only, "pickle"),
        (_broken_weights, "can't be read"),
        (_not_json, "can't be read"),
    ],
    ids=["missing", "empty", "no-weights", "pickle-only", "broken-weights", "config-not-json"],
)
def test_a_folder_that_can_not_be_used_is_refused_with_one_message(
    make, message: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "model")
    with pytest.raises(ModelError, match=message) as caught:
        build_model(folder, LABELS)
    assert caught.value.where == "model.name"
    with pytest.raises(ModelError, match=message) as found:
        check_source(folder, where="sites.a.model")
    assert found.value.where == "sites.a.model"


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_a_folder_that_can_be_used_passes_the_check(kind: str, tmp_path: Path) -> None:
    check_source(str(folder_of(kind, tmp_path / kind)))
    check_source("tiny")


def sharded(path: Path) -> Path:
    """A local encoder whose weights lie in several files."""
    folder_of("bert", path)
    model = AutoModelForSequenceClassification.from_pretrained(path)
    (path / "model.safetensors").unlink()
    model.save_pretrained(path, max_shard_size="2KB")
    return path


def test_weights_in_several_files_are_all_looked_for(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    check_source(str(folder))
    build_model(str(folder), LABELS)
    last = sorted(folder.glob("model-*.safetensors"))[-1]
    last.unlink()
    with pytest.raises(ModelError, match="can't be read"):
        check_source(str(folder))
    last.with_name("model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match="can't be read"):
        check_source(str(folder))


@pytest.mark.parametrize("name", ["nobody-here/no-such-encoder", "not a name"])
def test_a_hub_name_that_leads_nowhere_is_found_out(name: str) -> None:
    with pytest.raises(ModelError, match="can't be fetched from the hub") as caught:
        check_source(name)
    assert name in caught.value.got and "local folder" in caught.value.do


def into_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a model into a hub cache under the name `nobody-here/cached`; returns its files."""
    stored = cache / "models--nobody-here--cached"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("c0ffee")
    folder.rename(cache / "files")
    (stored / "snapshots").mkdir()
    (cache / "files").rename(stored / "snapshots" / "c0ffee")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return stored / "snapshots" / "c0ffee"


@pytest.mark.parametrize("make", [lambda path: folder_of("bert", path), sharded], ids=["one file", "shards"])
def test_a_model_in_the_cache_needs_no_network(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = into_cache(make(tmp_path / "model"), tmp_path / "cache", monkeypatch)
    check_source("nobody-here/cached")
    sorted(files.glob("model*.safetensors"))[-1].unlink()
    with pytest.raises(ModelError, match="can't be fetched from the hub"):
        check_source("nobody-here/cached")


def test_a_hub_name_without_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("We couldn't connect to the hub\nand many more lines")

    monkeypatch.setattr(AutoConfig, "from_pretrained", offline)
    with pytest.raises(ModelError, match="local folder") as caught:
        build_model("some-organisation/some-encoder", LABELS)
    assert "many more lines" not in str(caught.value)


def test_no_label_is_refused() -> None:
    with pytest.raises(ModelError, match="no label"):
        build_model("tiny", [])


def test_loading_leaves_the_log_level_of_transformers_alone(tmp_path: Path) -> None:
    before = logging.getLogger("transformers").level
    build_model(str(folder_of("bert", tmp_path / "bert")), LABELS)
    assert logging.getLogger("transformers").level == before


def test_encode_adds_special_tokens_and_cuts() -> None:
    encoder = build_model("tiny", LABELS, max_length=16, shape=SMALL)
    ids = encode(encoder.tokenizer, TEXTS, 16)
    assert all(row[0] == encoder.tokenizer.cls_token_id for row in ids)
    assert all(row[-1] == encoder.tokenizer.sep_token_id for row in ids)
    assert [len(row) for row in ids] == [min(len(row), 16) for row in ids]
    assert encode(encoder.tokenizer, [], 16) == []


def test_predictions_come_in_input_order_whatever_the_batches() -> None:
    encoder = build_model("tiny", LABELS, max_length=64, shape=SMALL)
    encoder.model.train()
    texts = [text * repeat for repeat in (3, 1, 2) for text in TEXTS]
    ids = encode(encoder.tokenizer, texts, 64)
    together = predict_logits(encoder.model, ids, batch_size=5)
    alone = np.concatenate([predict_logits(encoder.model, [row]) for row in ids])
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert encoder.model.training  # the mode is put back


def test_predicting_nothing_gives_an_empty_matrix() -> None:
    encoder = build_model("tiny", LABELS, max_length=16, shape=SMALL)
    assert predict_logits(encoder.model, []).shape == (0, 3)


def test_label_rows_are_the_output_layer(tmp_path: Path) -> None:
    tiny = build_model("tiny", LABELS, shape=SMALL)
    assert label_row_parameters(tiny.model, 3) == ("classifier.weight", "classifier.bias")
    roberta = RobertaForSequenceClassification(
        RobertaConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
        )
    )
    assert label_row_parameters(roberta, 3) == ("classifier.out_proj.weight", "classifier.out_proj.bias")
    with pytest.raises(ModelError, match="output layer"):
        output_layer(tiny.model, 7)
