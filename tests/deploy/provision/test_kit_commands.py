"""The commands from a terminal: exit codes, what they print, what they never print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emr_fl_deploy.cli import run
from federation_kits import snapshot

TOML = """
[federation]
name = "study"
[server]
addresses = ["fl.example.org"]
sites = ["hospital-a", "hospital-b"]
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "federation.toml"
    path.write_text(TOML)
    return path


def test_the_whole_way(toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kits, own = str(tmp_path / "kits"), tmp_path / "own"
    assert run(["server", "provision", str(toml), "--out", kits, "--requests"]) == 0
    assert run(["client", "request", "--site", "hospital-a", "--out", str(own)]) == 0
    assert run(["server", "approve", str(own / "request.json"), "--kits", kits]) == 0
    assert run(["server", "renew", "all", "--kits", kits]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and "PRIVATE" not in shown.out and "hospital-b" in shown.out
    assert run(["server", "revoke", "hospital-a", "--kits", kits, "--reason", "left"]) == 0
    capsys.readouterr()
    assert run(["server", "kits", "--kits", kits, "--json"]) == 0
    lines = {line["name"]: line for line in json.loads(capsys.readouterr().out)}
    assert {name: line["state"] for name, line in lines.items()} == {
        "authority": "valid",
        "server": "valid",
        "hospital-a": "revoked",
        "hospital-b": "not issued",
    }
    assert lines["hospital-a"]["reason"] == "left" and lines["server"]["days_left"] in (364, 365)
    assert run(["--lang", "zh", "server", "kits", "--kits", kits]) == 0
    assert "已吊销" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "words"), [([], "for trials"), (["--requests"], "client request")])
def test_it_says_who_made_the_keys(
    toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run(["server", "provision", str(toml), "--out", str(tmp_path / "kits"), *options]) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["server", "provision", "none.toml", "--out", "x"], 2, "no such settings file"),
        (["server", "provision", "federation.toml", "--out", "federation.toml"], 2, "something already"),
        (["server", "approve", "none.json", "--kits", "kits"], 1, "missing"),
        (["server", "approve", "federation.toml", "--kits", "kits"], 1, "not understood"),
        (["server", "renew", "hospital-z", "--kits", "kits"], 3, "not a site of this federation"),
        (["server", "revoke", "hospital-z", "--kits", "kits"], 2, "no kit was issued"),
        (["server", "kits", "--kits", "none"], 1, "no authority here"),
        (["client", "request", "--site", "../x", "--out", "own"], 2, "--site"),
    ],
)
def test_refusals(
    toml: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["server", "provision", "federation.toml", "--out", "kits"]) == 0
    before = snapshot(tmp_path)
    assert run(arguments) == code
    shown = capsys.readouterr().err
    assert words in shown and "Traceback" not in shown
    assert snapshot(tmp_path) == before


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from emr_fl_deploy.cli import run; run(['server', '--help']);"
        "heavy = {'cryptography', 'flwr', 'torch', 'pydantic', 'idna'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "provision" in done.stdout


def test_reading_a_kit_imports_neither_flower_nor_torch() -> None:
    code = "import sys, emr_fl_shared.kit; sys.exit(bool({'flwr', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-P", "-c", code]).returncode == 0
