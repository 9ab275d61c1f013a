"""A saved model: complete, readable by plain transformers, and refused when something is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from emr_fl_shared.errors import DataError, EmrFlError, ModelError, StorageError
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import Encoder, build_model, encode, predict_logits
from emr_fl_shared.model.storage import load_model, save_model
from emr_fl_shared.model.tiny import TinyShape

TAXONOMY = column_taxonomy(["高血压", "哮喘", "胃炎"])
DECISION = Decision("threshold", 0.31, 1.7)
TEXTS = ["咳嗽3天，伴发热38.5℃", "上腹痛", "[PATIENT_NAME]，头晕2天"]


@pytest.fixture
def encoder() -> Encoder:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
    return build_model("tiny", TAXONOMY.names, max_length=48, seed=1, shape=shape)


@pytest.fixture
def saved(encoder: Encoder, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", encoder, TAXONOMY, DECISION, "# card\n")
    return tmp_path / "model"


def test_the_folder_comes_back_as_it_was(encoder: Encoder, saved: Path) -> None:
    loaded = load_model(saved)
    assert loaded.labels == TAXONOMY
    assert loaded.decision == DECISION
    assert loaded.encoder.labels == encoder.labels
    assert loaded.encoder.max_length == 48
    expected = predict_logits(encoder.model, encode(encoder.tokenizer, TEXTS, 48))
    got = predict_logits(loaded.encoder.model, encode(loaded.encoder.tokenizer, TEXTS, 48))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert not list(saved.parent.glob(".model-*"))


def test_plain_transformers_reads_it(encoder: Encoder, saved: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits.numpy()
    expected = predict_logits(encoder.model, encode(encoder.tokenizer, TEXTS, 48))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert list(model.config.id2label.values()) == TAXONOMY.names


def test_saving_again_replaces_the_folder(encoder: Encoder, saved: Path) -> None:
    (saved / "left-over").write_text("x")
    save_model(saved, encoder, TAXONOMY, Decision("argmax"), "# new\n")
    assert not (saved / "left-over").exists()
    assert load_model(saved).decision.kind == "argmax"


def test_no_pickle_is_written_and_nothing_but_the_named_files(saved: Path) -> None:
    names = {path.name for path in saved.iterdir()}
    assert {"config.json", "model.safetensors", "labels.json", "thresholds.json", "MODEL_CARD.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


@pytest.mark.parametrize("standardise", [True, False])
def test_what_a_text_goes_through_first_travels_with_the_model(
    encoder: Encoder, tmp_path: Path, standardise: bool
) -> None:
    encoder.standardise = standardise
    save_model(tmp_path / "model", encoder, TAXONOMY, DECISION, "")
    assert load_model(tmp_path / "model").encoder.standardise is standardise


def test_a_folder_of_an_earlier_version_has_no_standardiser(saved: Path) -> None:
    (saved / "input.json").unlink()
    assert load_model(saved).encoder.standardise is False


@pytest.mark.parametrize("content", ["{}", '{"standardise": 1}', '{"standardise": true, "x": 1}', "{", "[]"])
def test_an_input_file_that_says_something_else_is_refused(saved: Path, content: str) -> None:
    (saved / "input.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"input\.json"):
        load_model(saved)


def _remove(name: str):
    return lambda folder: (folder / name).unlink()


def _fewer_labels(folder: Path) -> None:
    (folder / "labels.json").write_text(column_taxonomy(["高血压"]).to_json(), encoding="utf-8")


def _list(folder: Path) -> None:
    (folder / "labels.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_remove("labels.json"), ModelError, "labels.json"),
        (_remove("thresholds.json"), ModelError, "thresholds.json"),
        (_remove("model.safetensors"), ModelError, "no weights"),
        (_remove("config.json"), ModelError, "config.json"),
        (_fewer_labels, ModelError, "does not fit"),
        (_list, ModelError, "can't be read"),
        (lambda f: (f / "thresholds.json").write_text("{"), ModelError, "can't be read"),
        (lambda f: (f / "thresholds.json").write_text(json.dumps({"kind": "x"})), DataError, "fields"),
    ],
    ids=[
        "labels",
        "thresholds",
        "weights",
        "config",
        "fewer-labels",
        "labels-list",
        "not-json",
        "other-fields",
    ],
)
def test_a_damaged_folder_is_refused(damage, error: type[EmrFlError], message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(error, match=message):
        load_model(saved)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        load_model(tmp_path / "nowhere")


def test_other_labels_than_the_models_are_refused_and_nothing_is_written(
    encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="not the one"):
        save_model(tmp_path / "model", encoder, column_taxonomy(["哮喘", "胃炎"]), DECISION, "")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_folder(
    encoder: Encoder, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(encoder.model), "save_pretrained", full)
    with pytest.raises(StorageError, match="No space left"):
        save_model(saved, encoder, TAXONOMY, Decision("argmax"), "")
    assert load_model(saved).decision == DECISION
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
