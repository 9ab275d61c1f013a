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
from emr_fl_shared.text.noise import KINDS

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经"])
SHAPE = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved_with_seed(tmp_path / "model", 1)


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
    assert scores[0]["sets"]["standard"] == scores[1]["sets"]["standard"]
    assert all({"standard", "noisy", "adversarial"} <= set(found["sets"]) for found in scores)


def test_predict_names_the_words_that_a_label_rests_on(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "患者张伟，咳嗽、发热3天，无胸痛。"
    scoring.predict(model, [text], file=None, as_json=True, top=3, explain=True, attention=True)
    answer = json.loads(capsys.readouterr().out)
    explained = [entry for entry in answer["labels"] if "explanation" in entry]
    assert (explained and all(entry["given"] for entry in explained)) or len(explained) == 1
    for entry in explained:
        why = entry["explanation"]
        assert {"咳嗽", "发热", "胸痛", "[PATIENT_NAME]"} <= {word["word"] for word in why["words"]}
        total = sum(word["weight"] for word in why["words"])
        assert total == pytest.approx(why["logit"] - why["baseline"], rel=0.01, abs=1e-4)
    assert "张伟" not in json.dumps(answer, ensure_ascii=False)
    assert 0 < sum(word["weight"] for word in answer["attention"]) <= 1
    scoring.predict(model, [text], file=None, as_json=True, top=3)
    plain = json.loads(capsys.readouterr().out)
    for entry in explained:
        del entry["explanation"]
    assert plain == {"text": 1, "labels": answer["labels"]}


def test_predict_explains_on_the_terminal(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["predict", "--model", str(model), "咳嗽、发热3天", "--explain", "--attention"]
    assert run(["--lang", "en", *options]) == 0
    out = capsys.readouterr().out
    assert "rests on: " in out and "looked at: " in out and "咳嗽 " in out


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = "".join(
        f"{'咳嗽发热' if number % 2 else '腹痛腹泻'}{number}天，伴乏力，活动后加重。,{'呼吸' if number % 2 else '消化'},p{number // 2}\n"
        for number in range(1, 41)
    )
    (tmp_path / "notes.csv").write_text("text,labels,patient_id\n" + rows, encoding="utf-8")
    return tmp_path / "notes.csv"


def saved_with_seed(folder: Path, seed: int, threshold: float = 0.5) -> Path:
    encoder = build_model("tiny", TAXONOMY.names, max_length=48, seed=seed, shape=SHAPE)
    save_model(folder, encoder, TAXONOMY, Decision("threshold", threshold), "# card\n")
    return folder


def test_evaluate_against_another_model(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved_with_seed(tmp_path / "other", 2)
    options = ["--model", str(model), "--data", str(data), "--against", str(other)]
    assert run(["evaluate", *options, "--json", "--out", str(tmp_path / "scores.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    rows = found["comparisons"]
    assert [(row["set"], row["measure"]) for row in rows] == [
        (name, measure) for name in ("standard", "noisy") for measure in ("macro_f1", "micro_f1")
    ]
    for row in rows:
        ours, theirs = (part["sets"][row["set"]][row["measure"]] for part in (found, found["against"]))
        assert row["difference"] == pytest.approx(ours - theirs, abs=1e-12)
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
        assert row["p_holm"] >= row["p"] > 0
    assert run(["--lang", "en", "evaluate", *options]) == 0
    printed = capsys.readouterr().out
    assert "p (Holm)" in printed and f"against {other}" in printed


def test_evaluate_against_itself_finds_no_difference(model: Path, data: Path) -> None:
    found = scoring.evaluate(
        model, data, sets="standard", columns=[], out=None, seed=1, as_json=True, against=model
    )
    assert all((row["difference"], row["p"]) == (0.0, 1.0) for row in found["comparisons"])
    assert found["sets"] == found["against"]["sets"]


def test_models_of_other_labels_are_not_compared(
    model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    taxonomy = column_taxonomy(["呼吸", "消化", "皮肤"])
    encoder = build_model("tiny", taxonomy.names, max_length=48, seed=1, shape=SHAPE)
    save_model(tmp_path / "other", encoder, taxonomy, Decision(), "# card\n")
    options = ["--model", str(model), "--data", str(data), "--against", str(tmp_path / "other")]
    assert run(["--lang", "en", "evaluate", *options]) == 2
    assert "--against" in capfd.readouterr().err
    options = ["--model", str(model), "--data", str(data), "--against", str(model)]
    assert run(["--lang", "en", "evaluate", *options, "--sets", "adversarial"]) == 2
    assert "same texts" in capfd.readouterr().err


def test_evaluate_gives_the_noise_curve(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scoring.evaluate(
        model, data, sets="standard,noise-curve", columns=[], out=None, seed=3, as_json=False
    )
    curve = found["noise_curve"]
    assert curve["n"] == 40 and curve["macro_f1"] == found["sets"]["standard"]["macro_f1"]
    assert {(point["kind"], point["strength"]) for point in curve["points"]} == {
        (kind, strength) for kind in KINDS for strength in (0.05, 0.1, 0.2)
    }
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in KINDS)
    low, high = found["sets"]["standard"]["macro_f1_interval"]
    assert f"{low:.4f} … {high:.4f}" in printed


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
