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


def test_predict_standardises_where_the_model_was_trained_so(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed, written = "T38.5，咳嗽3d。", "体温38.5，咳嗽3天。"
    assert predicted(model, typed, capsys) != predicted(model, written, capsys)
    (model / "input.json").write_text('{"standardise": true}', encoding="utf-8")
    assert predicted(model, typed, capsys) == predicted(model, written, capsys)


def test_evaluate_standardises_what_noise_and_attack_made(model: Path, tmp_path: Path) -> None:
    (model / "input.json").write_text('{"standardise": true}', encoding="utf-8")
    scores = []
    for name, first in (("typed", "T38.5，咳嗽{}d"), ("written", "体温38.5，咳嗽{}天")):
        rows = "".join(f"{first.format(number)}，{'头痛' * (number % 2)},呼吸\n" for number in range(1, 9))
        (tmp_path / f"{name}.csv").write_text("text,labels\n" + rows, encoding="utf-8")
        scores.append(
            scoring.evaluate(
                model,
                tmp_path / f"{name}.csv",
                sets="standard,noisy,adversarial",
                columns=[],
                out=None,
                seed=3,
                as_json=False,
            )
        )
    assert scores[0]["standard"] == scores[1]["standard"]
    assert all({"standard", "noisy", "adversarial"} <= set(found) for found in scores)


@pytest.mark.parametrize(
    ("data", "column", "code", "said"),
    [
        ("missing.csv", None, 1, ["--data", "no such file", "missing.csv", "current folder"]),
        (".", None, 1, ["--data", "folder, not a file"]),
        ("a.csv", "labels", 2, ["--column", "field=header"]),
        ("a.csv", "label=x", 2, ["--column", "unknown field", "label"]),
        ("a.csv", "labels=诊断名", 2, ["--column labels = 诊断名", "not in the file", "text, labels"]),
    ],
)
def test_evaluate_says_what_is_wrong_with_its_own_options(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    data: str,
    column: str | None,
    code: int,
    said: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,labels\n咳嗽三天,呼吸\n", encoding="utf-8")
    options = ["--column", column] if column else []
    assert run(["evaluate", "--model", str(model), "--data", data, *options]) == code
    errors = capfd.readouterr().err
    assert errors.count("error:") == 1
    assert "settings file" not in errors
    assert "Traceback" not in errors
    for part in said:
        assert part in errors
