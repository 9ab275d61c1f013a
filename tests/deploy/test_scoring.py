"""`predict` and `evaluate` read a text as training does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emr_fl_deploy import scoring
from emr_fl_deploy.cli import run
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.storage import save_model
from emr_fl_shared.model.tiny import TinyShape

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
    encoder = build_model("tiny", TAXONOMY.names, max_length=48, seed=1, shape=shape)
    save_model(tmp_path / "model", encoder, TAXONOMY, Decision(), "# card\n")
    return tmp_path / "model"


def predicted(model: Path, text: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    scoring.predict(model, [text], file=None, as_json=True, top=3)
    (line,) = capsys.readouterr().out.splitlines()
    return {entry["zh"]: entry["probability"] for entry in json.loads(line)["labels"]}


def test_a_quoted_diagnosis_is_not_read(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = predicted(model, "咳嗽3天，伴发热。", capsys)
    assert predicted(model, "咳嗽3天，伴发热。初步诊断：急性支气管炎。", capsys) == plain
    assert predicted(model, "头痛2天，伴呕吐。", capsys) != plain
