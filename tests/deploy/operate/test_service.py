"""What services and orchestrators use: `server start --continue`, `server health`, `client --state`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emr_fl_client.join.place import Places
from emr_fl_deploy.cli import run
from emr_fl_deploy.operate.start import start
from emr_fl_server.superlink import supervisor
from emr_fl_server.superlink.health import HealthServer
from emr_fl_shared.errors import SettingsError, UsageError
from emr_fl_shared.processes import free_port
from federation_kits import provision, settings_of, snapshot


@pytest.fixture
def health() -> Iterator[tuple[HealthServer, str]]:
    server = HealthServer(address := f"127.0.0.1:{free_port()}")
    yield server, address
    server.stop()


def test_health_says_whether_the_server_is_in_service(
    health: tuple[HealthServer, str], capsys: pytest.CaptureFixture[str]
) -> None:
    server, address = health
    assert run(["--lang", "en", "server", "health", "--address", address]) == 1
    assert "NOT_SERVING" in capsys.readouterr().err
    server.set(True)
    assert run(["--lang", "en", "server", "health", "--address", address]) == 0
    assert capsys.readouterr().out == "in service\n"


def test_health_of_nobody_is_an_error_in_one_line_and_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert run(["--lang", "en", "server", "health", "--address", address]) == 1
    error = capsys.readouterr().err
    assert f"{address}: nobody answers the health check (got UNAVAILABLE)" in error
    assert "--health HOST:PORT" in error


# --- start --continue ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Run folders in which a server was started; none really is."""
    seen: list[Path] = []

    def fake(self: supervisor.Server) -> int:
        seen.append(self.out)
        return 0

    monkeypatch.setattr(supervisor.Server, "run", fake)
    return seen


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of `start` that begin a federation in `tmp_path/run`."""
    monkeypatch.chdir(tmp_path)
    provision(settings_of(), tmp_path / "kits")
    (tmp_path / "standard.csv").write_text("text,labels\n咳嗽,a\n")
    config = tmp_path / "federation.toml"
    config.write_text('[model]\nname = "tiny"\n[evaluation.sets]\nstandard = "standard.csv"\n')
    return {
        "config": config,
        "kit": tmp_path / "kits" / "server",
        "out": tmp_path / "run",
        "resume": False,
        "host": "127.0.0.1",
        "port": None,
        "assignments": (),
        "health": None,
        "keep": True,
    }


def test_continue_begins_once_and_goes_on_afterwards(call: dict[str, Any], starts: list[Path]) -> None:
    assert start(**call) == 0
    settings = (call["out"] / "settings.toml").read_bytes()
    assert start(**call) == 0
    assert starts == [call["out"]] * 2
    assert (call["out"] / "settings.toml").read_bytes() == settings


def test_continue_leaves_a_finished_run_alone(
    call: dict[str, Any], starts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    start(**call)
    (call["out"] / "results.json").write_text("{}")
    before = snapshot(call["out"])
    capsys.readouterr()
    assert start(**call) == 0
    assert "run" in capsys.readouterr().out
    assert len(starts) == 1
    assert snapshot(call["out"]) == before


def test_continue_with_other_settings_is_refused(call: dict[str, Any], starts: list[Path]) -> None:
    start(**call)
    with pytest.raises(SettingsError, match=r"federation\.rounds"):
        start(**call | {"assignments": ("federation.rounds=77",)})
    assert len(starts) == 1


@pytest.mark.parametrize("left_out", ["config", "out"])
def test_continue_needs_to_know_which_run(call: dict[str, Any], starts: list[Path], left_out: str) -> None:
    with pytest.raises(UsageError, match="--continue"):
        start(**call | {left_out: None})
    assert not starts
    assert not call["out"].exists()


def test_continue_does_not_take_a_folder_of_something_else(call: dict[str, Any], starts: list[Path]) -> None:
    call["out"].mkdir()
    (call["out"] / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError):
        start(**call)
    assert not starts
    assert [path.name for path in call["out"].iterdir()] == ["thesis.txt"]


# --- a site's state apart from its kit ------------------------------------------------------------------------------------------


def test_a_site_keeps_its_state_where_it_is_told(tmp_path: Path) -> None:
    provision(settings_of(), tmp_path / "kits")
    kit = tmp_path / "kits" / "sites" / "hospital-a"
    before = snapshot(kit)
    place = Places("hospital-a", kit, None, tmp_path / "elsewhere").open()
    place.pseudonym_key()
    assert (tmp_path / "elsewhere" / "pseudonym.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700
    assert snapshot(kit) == before
