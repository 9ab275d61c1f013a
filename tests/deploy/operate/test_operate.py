"""`emr-fl server start|status|stop` where nothing can be started, shown or stopped: one clear message, nothing written."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import write_notes
from emr_fl_deploy.cli import run
from emr_fl_deploy.operate.status import FOLDER, gather, render
from emr_fl_deploy.provision.provisioning import provision
from emr_fl_server.superlink import supervisor
from emr_fl_server.superlink.status import SERVER_FILE, STOP_FILE
from emr_fl_server.superlink.supervisor import Server
from emr_fl_shared.errors import UsageError
from emr_fl_shared.kit import ServerKit, read_server_kit
from emr_fl_shared.locks import RUN_LOCK
from federation_kits import settings_of

TOML = """
[federation]
name = "study"
[labels]
taxonomy = "column"
[model]
name = "tiny"
[evaluation.sets]
standard = "standard.csv"
"""


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("provisioned") / "kits"
    provision(settings_of(), folder)
    return folder


@pytest.fixture
def work(provisioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with kits and settings, and a server that only says that it was started."""
    (tmp_path / "kits").symlink_to(provisioned)
    (tmp_path / "study.toml").write_text(TOML)
    write_notes(tmp_path / "standard.csv", 10, 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    found: list[Server] = []

    def run(self: Server) -> int:
        found.append(self)
        return 0

    monkeypatch.setattr(Server, "run", run)
    return found


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err and shown.out == "" and "Traceback" not in shown.err


# --- start ---------------------------------------------------------------------------------------------------------


def test_a_start_writes_the_resolved_settings(work: Path, starts: list[Server]) -> None:
    arguments = ["server", "start", "--config", "study.toml", "--out", "run", "--set", "federation.rounds=3"]
    assert run(arguments) == 0
    (server,) = starts
    text = (work / "run" / "settings.toml").read_text()
    assert "rounds = 3" in text and str(work / "standard.csv") in text
    assert (server.out, server.port, server.host) == (Path("run"), 9443, "0.0.0.0")
    assert run(["server", "start", "--resume", "--out", "run", "--port", "9000", "--host", "::1"]) == 0
    assert (starts[1].port, starts[1].host) == (9000, "::1")
    assert (work / "run" / "settings.toml").read_text() == text


def test_the_default_folder(work: Path, starts: list[Server]) -> None:
    assert run(["server", "start", "--config", "study.toml"]) == 0
    (folder,) = (work / "runs").iterdir()
    assert folder.name.startswith("study-")
    assert run(["server", "start", "--resume"]) == 0
    assert starts[1].out.resolve() == folder


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        pytest.param([], 2, "which settings?", id="no --config"),
        pytest.param(["--config", "none.toml"], 2, "no such settings file", id="no settings file"),
        pytest.param(["--config", "study.toml", "--kit", "none"], 1, "none", id="no kit"),
        pytest.param(
            ["--config", "study.toml", "--kit", "kits/sites/hospital-a"], 3, "kit", id="a site's kit"
        ),
        pytest.param(
            ["--config", "study.toml", "--set", "evaluation.sets.standard=none.csv"],
            1,
            "evaluation.sets.standard: no such file",
            id="no standard set",
        ),
        pytest.param(
            ["--config", "study.toml", "--set", 'evaluation.sets.standard=""'],
            2,
            "no held-out set",
            id="standard set not named",
        ),
        pytest.param(["--config", "study.toml", "--out", "full"], 2, "not empty", id="--out full"),
        pytest.param(["--config", "study.toml", "--out", "study.toml"], 2, "not empty", id="--out a file"),
        pytest.param(["--config", "study.toml", "--set", "a.b=1"], 2, "--set", id="unknown setting"),
        pytest.param(
            ["--config", "study.toml", "--set", "model.name=/no/such/model"],
            1,
            "model.name: there is no such model folder",
            id="no model",
        ),
        pytest.param(
            ["--config", "study.toml", "--set", "model.name=full"],
            1,
            "model.name: the model folder has no config.json",
            id="a folder that is no model",
        ),
        pytest.param(
            ["--config", "study.toml", "--set", "training.device=cuda:99"],
            2,
            "training.device: no such GPU",
            id="no GPU",
        ),
        pytest.param(
            ["--config", "study.toml", "--set", "labels.taxonomy=one.csv"],
            2,
            "one label only",
            id="one label",
        ),
        pytest.param(["--resume"], 2, "there is no run", id="nothing to continue"),
        pytest.param(["--resume", "--out", "full"], 2, "no run to continue", id="no run in --out"),
        pytest.param(["--resume", "--out", "none"], 2, "no run to continue", id="no --out"),
    ],
)
def test_a_start_that_is_refused(
    work: Path,
    starts: list[Server],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    words: str,
) -> None:
    (work / "full").mkdir()
    (work / "full" / "file").touch()
    (work / "one.csv").write_text("id,zh\n1,呼吸\n", encoding="utf-8")
    before = everything(work)
    refused(["server", "start", *more], code, words, capsys)
    assert starts == [] and everything(work) == before


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["--set", "training.batch_size=8"], id="--set"),
        pytest.param(["--config", "study.toml", "--set", "training.batch_size=8"], id="--config and --set"),
        pytest.param(["--config", "other.toml"], id="--config"),
    ],
)
def test_a_run_continues_with_its_own_settings_only(
    work: Path, starts: list[Server], capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert run(["server", "start", "--config", "study.toml", "--out", "run"]) == 0
    (work / "other.toml").write_text(f"{TOML}\n[training]\nbatch_size = 8\n")
    refused(["server", "start", "--resume", "--out", "run", *more], 2, "training.batch_size", capsys)
    assert len(starts) == 1 and "batch_size = 32" in (work / "run" / "settings.toml").read_text()


def test_a_run_continues_with_its_own_settings_only_whatever_the_environment_says(
    work: Path, starts: list[Server], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["server", "start", "--config", "study.toml", "--out", "run"]) == 0
    monkeypatch.setenv("EMR_FL_SET__TRAINING__BATCH_SIZE", "8")
    refused(["server", "start", "--resume", "--out", "run"], 2, "training.batch_size", capsys)
    monkeypatch.setenv("EMR_FL_SET__TRAINING__BATCH_SIZE", "32")
    assert run(["server", "start", "--resume", "--out", "run"]) == 0 and len(starts) == 2


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["--set", "training.batch_size=32"], id="--set"),
        pytest.param(["--config", "study.toml"], id="--config"),
    ],
)
def test_the_same_settings_may_be_said_again(work: Path, starts: list[Server], more: list[str]) -> None:
    assert run(["server", "start", "--config", "study.toml", "--out", "run"]) == 0
    assert run(["server", "start", "--resume", "--out", "run", *more]) == 0
    assert len(starts) == 2


# --- a second server -----------------------------------------------------------------------------------------------


@contextmanager
def locked_by_another(path: Path) -> Iterator[None]:
    """The lock held by another process, as a running server holds it."""
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


def test_a_second_server_in_a_folder(work: Path, provisioned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_far(*_: Any) -> None:
        raise AssertionError("it went on past the lock")

    monkeypatch.setattr(supervisor, "make_loopback", too_far)
    out = work / "run"
    (out / FOLDER).mkdir(parents=True)
    (out / FOLDER / SERVER_FILE).write_text("of the first")
    kit: ServerKit = read_server_kit(provisioned / "server")
    with (
        locked_by_another(out / RUN_LOCK),
        pytest.raises(UsageError, match="at work in this folder already"),
    ):
        Server(kit, out, "127.0.0.1", 9443).run()
    assert (out / FOLDER / SERVER_FILE).read_text() == "of the first"
    with pytest.raises(AssertionError, match="past the lock"):
        Server(kit, out, "127.0.0.1", 9443).run()
    with open(out / RUN_LOCK) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back


# --- status and stop -----------------------------------------------------------------------------------------------


def dead_process() -> int:
    """The id of a process that is over."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def with_server(folder: Path, content: str) -> Path:
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER / SERVER_FILE).write_text(content)
    return folder


def test_status_of_a_folder_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["server", "status", "--out", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["running"], data["server"], data["finished"], data["sites"]) == (False, None, False, [])
    assert data["phase"] == "starting" and data["checkpoints"] == [] and data["left_s"] is None
    assert run(["server", "status", "--out", str(tmp_path)]) == 0
    assert f"{tmp_path}: not running" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_finished_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "round-00002.safetensors").touch()
    (tmp_path / "results.json").write_text("{}")
    data = gather(tmp_path)
    assert data["finished"] and data["checkpoints"] == ["round-00002.safetensors"]
    assert render(data).startswith(f"{tmp_path}: finished")


def test_status_of_a_running_server(tmp_path: Path, provisioned: Path) -> None:
    known = {"pid": os.getpid(), "kit": str(provisioned / "server")}
    data = gather(with_server(tmp_path, json.dumps(known)))
    assert data["running"] and [row["name"] for row in data["sites"]] == ["hospital-a", "hospital-b"]
    assert {row["state"] for row in data["sites"]} == {"never seen"} and data["warnings"] == []
    json.dumps(data)
    shown = render(data)
    assert "running" in shown and "hospital-b" in shown


def test_status_where_the_kit_is_gone(tmp_path: Path) -> None:
    known = {"pid": os.getpid(), "kit": str(tmp_path / "none")}
    data = gather(with_server(tmp_path / "run", json.dumps(known)))
    assert data["running"] and data["sites"] == [] and "none" in data["warnings"][0]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param('{"pid": ', id="half"),
        pytest.param("{}", id="no pid"),
        pytest.param("[1]", id="list"),
        pytest.param('{"pid": null}', id="null"),
        pytest.param('{"pid": 99999999999999999999, "kit": "k"}', id="no number of a process"),
        pytest.param('{"pid": 0, "kit": "k"}', id="a group of processes"),
        pytest.param('{"pid": -1, "kit": "k"}', id="all processes"),
        pytest.param('{"pid": true, "kit": "k"}', id="pid true"),
        pytest.param('{"pid": OWN, "kit": null}', id="kit null"),
        pytest.param('{"pid": OWN}', id="no kit"),
        pytest.param("DEAD", id="a process that is over"),
    ],
)
def test_no_server_where_its_file_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    dead = json.dumps({"pid": dead_process(), "kit": "k"})
    out = with_server(tmp_path / "run", content.replace("DEAD", dead).replace("OWN", str(os.getpid())))
    assert gather(out)["running"] is False
    refused(["server", "stop", "--out", str(out)], 2, "no server works in this run folder", capsys)
    assert not (out / FOLDER / STOP_FILE).exists()


@pytest.mark.parametrize("command", ["status", "stop"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param([], "there is no run", id="no runs"),
        pytest.param(["--out", "none"], "run folder", id="no folder"),
    ],
)
def test_no_run_at_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    more: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(["server", command, *more], 2, words, capsys)
    assert list(tmp_path.iterdir()) == []


def test_stop_asks_a_running_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = with_server(tmp_path, json.dumps({"pid": os.getpid(), "kit": ""}))
    assert run(["server", "stop", "--out", str(out)]) == 0
    assert "asked to stop" in capsys.readouterr().out and (out / FOLDER / STOP_FILE).exists()
