"""Dockerfile and Compose files: linted and rendered by the real tools, hardened."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emr_fl_deploy.commands import build

DEPLOY = Path(__file__).parents[3] / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "compose"
ROLES = ("server", "client")
USER = 10001


def tool(name: str) -> str:
    """A program beside this Python or on PATH; the test is skipped where it is missing."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed here")
    return found


def targets() -> dict[str, list[list[str]]]:
    """Instructions of each stage, a list of words each, without comments and continuation lines."""
    stages: dict[str, list[list[str]]] = {"": []}
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    name = ""
    for line in text.replace("\\\n", " ").splitlines():
        if words := line.split(maxsplit=1):
            if words[0] == "FROM":
                name = words[1].split()[-1]
                stages[name] = []
            stages[name].append(words)
    return stages


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_can_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN apt-get install vim\n")
    assert subprocess.run([tool("hadolint"), str(tmp_path / "Dockerfile")], capture_output=True).returncode


def test_the_installer_is_shell_that_shellcheck_accepts() -> None:
    script = DEPLOY / "emr_fl_deploy" / "airgap" / "install.sh"
    done = subprocess.run([tool("shellcheck"), str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("role", ROLES)
def test_images_run_as_a_fixed_user_and_stop_by_sigterm(role: str) -> None:
    base = dict(words for words in targets()["base"] if words[0] in ("USER", "STOPSIGNAL", "VOLUME"))
    assert base == {
        "USER": f"{USER}:{USER}",
        "STOPSIGNAL": "SIGTERM",
        "VOLUME": '["/var/lib/emr-fl"]',
    }
    assert targets()[role][0] == ["FROM", f"base AS {role}"]
    assert all(words[0] != "USER" for words in targets()[role])


def test_the_build_takes_the_verified_bundle_and_nothing_from_an_index() -> None:
    (run,) = [words[1] for words in targets()["install"] if words[0] == "RUN"]
    assert "source=dist/airgap/emr-fl,target=/bundle" in run
    assert 'sh /bundle/install.sh /opt/emr-fl "${BUNDLE_DIGEST}"' in run
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert "pip install" not in text
    assert "ADD " not in text


def understood(arguments: list[str]) -> None:
    """That emr-fl's command line has these options: parsed, not run."""
    import click

    command = build()
    rest = arguments
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context("emr-fl", list(rest))


def test_the_servers_command_and_health_check_are_commands_that_there_are() -> None:
    given = {
        words[0]: words[1] for words in targets()["server"] if words[0] in ("CMD", "HEALTHCHECK", "EXPOSE")
    }
    start = json.loads(given["CMD"])
    understood(start)
    check = json.loads(given["HEALTHCHECK"].partition("CMD ")[2])
    understood(check[1:])
    assert start[start.index("--health") + 1] == check[check.index("--address") + 1]
    assert given["EXPOSE"] == "9443"


# --- Compose ----------------------------------------------------------------------------------------------------------------------


def rendered(role: str) -> dict[str, Any]:
    done = subprocess.run(
        [
            tool("docker-compose"),
            f"--env-file={COMPOSE / f'{role}.env.example'}",
            f"--file={COMPOSE / f'compose.{role}.yaml'}",
            "config",
            "--format=json",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    service: dict[str, Any] = json.loads(done.stdout)["services"][role]
    return service


@pytest.mark.parametrize("role", ROLES)
def test_services_are_locked_down_and_write_to_their_volume_only(role: str) -> None:
    service = rendered(role)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == f"{USER}:{USER}"
    assert service["restart"] == "unless-stopped"
    assert int(service["mem_limit"]) > 0
    assert "privileged" not in service
    assert not service.get("environment")
    assert {volume["target"] for volume in service["volumes"] if not volume.get("read_only")} == {
        "/var/lib/emr-fl"
    }


def test_only_the_server_publishes_a_port() -> None:
    assert [port["target"] for port in rendered("server")["ports"]] == [9443]
    assert "ports" not in rendered("client")


def test_the_clients_command_is_one_that_there_is() -> None:
    understood(rendered("client")["command"])


def test_the_kit_is_mounted_as_a_folder_so_that_a_replaced_list_is_seen() -> None:
    assert "/etc/emr-fl/kit" in {volume["target"] for volume in rendered("server")["volumes"]}


@pytest.mark.parametrize("role", ROLES)
def test_what_is_left_out_of_the_environment_file_is_said(role: str) -> None:
    done = subprocess.run(
        [
            tool("docker-compose"),
            "--env-file=/dev/null",
            f"--file={COMPOSE / f'compose.{role}.yaml'}",
            "config",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "image and its digest" in done.stderr


def test_an_env_example_sets_what_its_file_uses_and_nothing_else() -> None:
    for role in ROLES:
        used = set(re.findall(r"\$\{(\w+)", (COMPOSE / f"compose.{role}.yaml").read_text(encoding="utf-8")))
        lines = (COMPOSE / f"{role}.env.example").read_text(encoding="utf-8").splitlines()
        assert {line.partition("=")[0] for line in lines if line and not line.startswith("#")} == used


# --- systemd ------------------------------------------------------------------------------------------------------------------------

UNITS = {"server": "emr-fl-server.service", "client": "emr-fl-client@.service"}
MOST_EXPOSED = 20
"""`systemd-analyze security` in tenths: 0 is best; a unit without any of it has 96."""


def unit(role: str) -> str:
    return (DEPLOY / "systemd" / UNITS[role]).read_text(encoding="utf-8")


def value(role: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", unit(role), flags=re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("role", ROLES)
def test_systemd_understands_every_line(role: str, tmp_path: Path) -> None:
    program = tool("systemd-analyze")
    path = tmp_path / UNITS[role]
    path.write_text(unit(role).replace("/opt/emr-fl/bin/emr-fl", "/bin/true"), encoding="utf-8")
    done = subprocess.run([program, "verify", "--man=no", str(path)], capture_output=True, text=True)
    about = [line for line in done.stderr.splitlines() if path.name.partition("@")[0] in line]
    assert (done.returncode, about) == (0, []), done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_systemd_finds_the_unit_well_confined(role: str) -> None:
    program = tool("systemd-analyze")
    path = DEPLOY / "systemd" / UNITS[role]
    done = subprocess.run(
        [program, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(path)],
        capture_output=True,
        text=True,
    )
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze is too old to look at a file")
    assert done.returncode == 0, done.stdout[-400:]


@pytest.mark.parametrize("role", ROLES)
def test_units_call_commands_that_there_are(role: str) -> None:
    text = unit(role).replace("\\\n", " ").replace("%i", "hospital-a")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, flags=re.MULTILINE)
    program, *arguments = shlex.split(line)
    assert program == "/opt/emr-fl/bin/emr-fl"
    understood(arguments)


@pytest.mark.parametrize("role", ROLES)
def test_what_a_person_must_look_at_is_not_started_again(role: str) -> None:
    assert value(role, "Restart") == "on-failure"
    assert value(role, "RestartPreventExitStatus") == "2 3"
    assert value(role, "SuccessExitStatus") == "130"
    # SIGTERM for the whole group would kill the SuperLink and the training at once
    assert value(role, "KillMode") == "mixed"
