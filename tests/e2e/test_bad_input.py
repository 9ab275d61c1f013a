"""Bad input: one clear message on standard error, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emr_fl_deploy.cli import run
from emr_fl_deploy.scoring import _texts
from emr_fl_deploy.simulate.command import Request, _prepare_folder
from emr_fl_deploy.simulate.preflight import read_all
from emr_fl_shared.config import load_settings
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tiny import TinyShape

TOML = "federation.toml"


def save_encoder(folder: Path) -> None:
    """A small encoder as transformers saves it."""
    encoder = build_model("tiny", ["a", "b"], shape=TinyShape(hidden=16, layers=1, heads=2, intermediate=16))
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def nothing(_: Path) -> None:
    return


def one_class(folder: Path) -> None:
    for name in ("north", "south", "standard"):
        rows = ["text,labels"] + [f"咳嗽{n}天,呼吸" for n in range(1, 20)]
        (folder / f"{name}.csv").write_text("\n".join(rows), encoding="utf-8")


def mixed_encodings(folder: Path) -> None:
    rows = [b"text,labels", *("咳嗽三天,呼吸".encode() for _ in range(5)), "头痛两天,神经".encode("gb18030")]
    (folder / "north.csv").write_bytes(b"\n".join(rows))


def without_labels(folder: Path) -> None:
    (folder / "north.csv").write_text("text,labels\n咳嗽,\n头痛,\n", encoding="utf-8")


def model_of_a_site(folder: Path) -> None:
    save_encoder(folder / "encoder")


def model_without_weights(folder: Path) -> None:
    save_encoder(folder / "encoder")
    (folder / "encoder" / "model.safetensors").unlink()


def model_cut_off(folder: Path) -> None:
    save_encoder(folder / "encoder")
    weights = folder / "encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def foreign_labels(*sites: str) -> Callable[[Path], None]:
    """Labels that no label set has: each too rare at its site for its name to leave."""

    def apply(folder: Path) -> None:
        for name in sites:
            rows = ["text,labels"] + [f"咳嗽{n}天,院内{name}{n}" for n in range(1, 40)]
            (folder / f"{name}.csv").write_text("\n".join(rows), encoding="utf-8")

    return apply


def unsigned_labels(folder: Path) -> None:
    (folder / "own.toml").write_text(
        'taxonomy = "outpatient-50"\n[labels]\n"咳嗽" = "高血压"\n', encoding="utf-8"
    )
    edit(TOML, lambda t: t.replace("[sites.north]", '[sites.north]\nlocal_labels = "own.toml"'))(folder)


def folder_for_file(folder: Path) -> None:
    (folder / "north.csv").unlink()
    (folder / "north.csv").mkdir()


def one_site(text: str) -> str:
    return text.partition("[sites.south]")[0]


CASES = [
    pytest.param(
        nothing, ["--set", "training.epoch=1"], 2, ["training.epoch", "epochs"], id="unknown setting"
    ),
    pytest.param(nothing, ["--set", "training.epochs=many"], 2, ["training.epochs", "many"], id="wrong type"),
    pytest.param(nothing, ["--set", "nonsense"], 2, ["--set"], id="no assignment"),
    pytest.param(nothing, ["--engine", "warp"], 2, ["--engine", "local | ray"], id="unknown engine"),
    pytest.param(nothing, ["--rounds", "0"], 2, ["--rounds: federation.rounds"], id="no rounds"),
    pytest.param(nothing, ["--gpus", "nan"], 2, ["--gpus"], id="gpus"),
    pytest.param(nothing, ["--set", "training.weight_decay=inf"], 2, ["weight_decay"], id="infinity"),
    pytest.param(
        nothing, ["--set", "labels.taxonomy=mine"], 2, ["labels.taxonomy", "outpatient-50"], id="label set"
    ),
    pytest.param(
        folder_for_file,
        [],
        1,
        ["sites.north.source", "folder, not a file"],
        id="folder in place of a file",
    ),
    pytest.param(
        nothing, ["--set", "training.adversarial.method=magic"], 2, ["method", "freelb"], id="method"
    ),
    pytest.param(edit(TOML, lambda t: t + "\n[broken"), [], 2, [TOML], id="broken toml"),
    pytest.param(
        edit(TOML, lambda t: t.replace("north.csv", "nowhere.csv")), [], 1, ["nowhere.csv"], id="no such file"
    ),
    pytest.param(
        edit(TOML, lambda t: t.replace("standard =", "noisy =")), [], 2, ["standard"], id="no standard set"
    ),
    pytest.param(edit(TOML, one_site), [], 2, ["sites", "min_sites"], id="one site only"),
    pytest.param(lambda folder: (folder / TOML).unlink(), [], 2, [TOML], id="no federation.toml"),
    pytest.param(write("north.csv", b""), [], 1, ["north.csv"], id="empty file"),
    pytest.param(write("north.csv", b"text,labels\n"), [], 1, ["north.csv"], id="header only"),
    pytest.param(write("north.csv", b"\x00\x01\x02" * 100), [], 1, ["north.csv"], id="binary"),
    pytest.param(
        write("north.csv", "甲,labels\n咳嗽,呼吸\n".encode()),
        [],
        1,
        ["north.csv", "columns"],
        id="no text column",
    ),
    pytest.param(
        write("north.csv", "text,乙\n咳嗽,呼吸\n".encode()), [], 1, ["north.csv"], id="no label column"
    ),
    pytest.param(
        edit(TOML, lambda t: t + '\n[sites.south.columns]\nlabels = "LB"\n'),
        [],
        1,
        ["south.csv", "columns.labels = LB", "text, labels"],
        id="a wrong column map",
    ),
    pytest.param(without_labels, [], 1, ["north"], id="no label"),
    pytest.param(one_class, [], 1, ["labels: there is only one label"], id="one class only"),
    pytest.param(
        write("one.csv", "id,zh\n1,呼吸\n".encode()),
        ["--set", "labels.taxonomy=one.csv"],
        2,
        ["one.csv", "one label only"],
        id="a label set of one",
    ),
    pytest.param(
        nothing, ["--set", "model.name=/no/such/model"], 1, ["model.name: there is no such"], id="no model"
    ),
    pytest.param(
        nothing,
        ["--set", "model.name=nobody-here/no-such-encoder"],
        1,
        ["model.name", "the hub"],
        id="no hub",
    ),
    pytest.param(
        lambda folder: (folder / "encoder").mkdir(),
        ["--set", "model.name=encoder"],
        1,
        ["model.name: the model folder has no config.json"],
        id="empty model",
    ),
    pytest.param(
        model_without_weights,
        ["--set", "model.name=encoder"],
        1,
        ["model.name: the model folder has no weights", "save_pretrained"],
        id="model without weights",
    ),
    pytest.param(
        model_cut_off,
        ["--set", "model.name=encoder"],
        1,
        ["model.name: the model folder"],
        id="model cut off",
    ),
    pytest.param(
        model_of_a_site,
        ["--set", "model.name=encoder", "--set", "sites.south.model=/no/such/model"],
        1,
        ["sites.south.model: there is no such model folder"],
        id="no model of a site",
    ),
    pytest.param(
        nothing,
        ["--set", "training.device=cuda:99"],
        2,
        ["training.device: no such GPU", "cuda:99"],
        id="no device",
    ),
    pytest.param(
        nothing, ["--set", "training.precision=fp16"], 2, ["training.precision", "--gpus"], id="fp16"
    ),
    pytest.param(
        foreign_labels("north", "south"),
        ["--set", "labels.taxonomy=outpatient-50"],
        1,
        ["no site is left after filtering", "sites.north.source", "sites.south.source", "outpatient-50"],
        id="no label fits",
    ),
    pytest.param(
        foreign_labels("north"),
        [],
        1,
        ["too few sites are left after filtering", "sites.north.source", "min_sites"],
        id="too few sites with labels",
    ),
    pytest.param(unsigned_labels, [], 3, ["own.toml", "not signed"], id="a mapping that nobody signed"),
    pytest.param(mixed_encodings, [], 1, ["north.csv"], id="mixed encodings"),
]


@pytest.mark.parametrize(("damage", "options", "code", "said"), CASES)
def test_bad_input_is_said_once_and_clearly(
    hand_written: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    options: list[str],
    code: int,
    said: list[str],
) -> None:
    damage(hand_written)
    got = run(
        ["simulate", "--data", str(hand_written), "--out", str(tmp_path / "run"), "--no-baselines", *options]
    )
    errors = capfd.readouterr().err
    assert got == code, errors
    assert "Traceback" not in errors
    assert errors.count("error:") == 1, errors
    for part in said:
        assert part in errors
    for secret in ("咳嗽", "头痛"):
        assert secret not in errors
    assert not (tmp_path / "run").exists()


def test_too_few_sample_sites_or_records_leave_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for options in (["--sites", "1"], ["--records", "5"], ["--sites", "99"]):
        assert run(["simulate", "--out", str(tmp_path / "run"), *options]) == 2
        assert not (tmp_path / "run").exists()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("model.name=/no/such/model", 1, "model.name: there is no such model folder"),
        ("training.device=cuda:99", 2, "training.device: no such GPU"),
        ("labels.taxonomy=mine.csv", 2, "labels.taxonomy: no such label set"),
    ],
)
def test_what_a_sample_run_can_not_do_is_said_before_it_is_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], setting: str, code: int, said: str
) -> None:
    assert run(["simulate", "--records", "200", "--out", str(tmp_path / "run"), "--set", setting]) == code
    errors = capfd.readouterr().err
    assert said in errors and errors.count("error:") == 1 and "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_a_model_folder_that_can_be_used_is_no_problem(hand_written: Path, tmp_path: Path) -> None:
    save_encoder(hand_written / "encoder")
    assignments = ("model.name=encoder", f"sites.south.model={hand_written / 'encoder'}")
    request = Request(data=hand_written, out=tmp_path / "run", assignments=assignments)
    folder, settings, warnings = _prepare_folder(request)
    assert folder.is_dir() and settings.model.name == str(hand_written / "encoder") and warnings == []


def test_one_site_without_a_label_is_warned_of_and_the_run_goes_on(hand_written: Path) -> None:
    foreign_labels("west")(hand_written)
    edit(TOML, lambda text: text + '\n[sites.west]\nsource = "west.csv"\n')(hand_written)
    settings = load_settings(hand_written / TOML, environment={}).with_paths_from(hand_written)
    about = [warning for warning in read_all(settings) if "sites.west" in warning]
    assert about == [
        "sites.west.source: none of 39 records has a label of the label set; it has nothing to train or score with"
    ]


def test_warnings_of_data_that_can_be_used_all_the_same(hand_written: Path) -> None:
    (hand_written / "south.csv").write_text(
        "text,labels\n" + "咳嗽三天,呼吸\n" * 20 + "头痛,\n" + f"{'咳' * 200},呼吸\n" + "头痛,罕见\n",
        encoding="utf-8",
    )
    with (hand_written / "standard.csv").open("a", encoding="utf-8") as stream:
        stream.write("皮疹两天,皮肤\n")
    settings = load_settings(hand_written / "federation.toml", environment={}).with_paths_from(hand_written)
    said = "\n".join(read_all(settings))
    for part in (
        "sites.south.source: 1 of 23 rows are left out (no label: 1)",
        "sites.south.source: 1 of 22 records have no label of the label set",
        "sites.south.source: only 21 records",
        "about 1 of 143 texts are longer",
        "1 labels of the held-out sets occur at no site and can't be learned: 皮肤",
    ):
        assert part in said
    assert "咳嗽" not in said
    assert "sites.north" not in said


def test_clean_data_bring_no_warning(hand_written: Path) -> None:
    settings = load_settings(hand_written / "federation.toml", environment={}).with_paths_from(hand_written)
    assert read_all(settings) == []


def test_a_full_run_folder_is_not_overwritten(
    hand_written: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    assert run(["simulate", "--data", str(hand_written), "--out", str(tmp_path / "run")]) == 2
    assert "--resume" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["predict", "--model", "nowhere", "咳嗽"], 1, "nowhere"),
        (["predict", "--model", "nowhere"], 2, "no text"),
        (["evaluate", "--model", "nowhere", "--data", "x.csv", "--sets", "easy"], 2, "--sets"),
        (["simulate", "--resume", "--out", "nowhere"], 2, "no run to continue"),
        (["data", "synth", "--out", "x", "--sites", "0"], 2, "sites"),
        (["report", "nowhere"], 1, "nowhere"),
        (["--lang", "fr", "version"], 2, "--lang"),
        (["frobnicate"], 2, "frobnicate"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_other_commands_fail_clearly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    errors = capfd.readouterr().err
    assert said in errors
    assert "Traceback" not in errors


def test_messages_come_in_chinese(capfd: pytest.CaptureFixture[str]) -> None:
    from emr_fl_shared.messages import set_language

    try:
        assert run(["--lang", "zh", "simulate", "--engine", "warp"]) == 2
    finally:
        set_language(None)
    assert "未知的引擎" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "--rounds", "x"], "--rounds"),
        (["simulate", "--nonsense"], "--nonsense"),
        (["predict"], "--model"),
        (["frobnicate"], "没有这个命令"),
    ],
    ids=" ".join,
)
def test_wrong_usage_in_chinese(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    from emr_fl_shared.messages import set_language

    try:
        assert run(["--lang", "zh", *arguments]) == 2
    finally:
        set_language(None)
    errors = capfd.readouterr().err
    assert said in errors
    for english in ("Usage", "Try", "Error", "valid", "Missing", "No such"):
        assert english not in errors


def test_lines_of_a_file_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("咳嗽\r\n\n头痛\u2028两天\n".encode())
    assert _texts([], file) == [(1, "咳嗽\r"), (3, "头痛\u2028两天")]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_the_sample_is_made_says_how_to_go_on(tmp_path: Path, stop: signal.Signals) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "emr_fl_deploy.cli", "simulate"),
            *("--records", "40000", "--out", "run"),
        ],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while not list((tmp_path / "run").glob(".data-*")) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(stop)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "--resume --out run" in errors
    assert "Traceback" not in errors


def test_help_is_quick() -> None:
    loaded = subprocess.run(
        [
            *(sys.executable, "-P", "-c"),
            "import sys; from emr_fl_deploy.cli import run; run(['--help']);"
            "print(sorted({'torch', 'transformers', 'flwr', 'ray', 'sklearn', 'numpy'} & set(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.splitlines()[-1] == "[]"
