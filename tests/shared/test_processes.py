"""Children end with their parent, do not outlive a stop, and phone nobody."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from emr_fl_shared.processes import free_port, quiet_environment, start_child, stop_child

SLEEP = "import time; time.sleep(60)"
READY = "print('ready', flush=True)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}; {SLEEP}"
POLITE = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); {READY}; {SLEEP}"
PARENT = f"""
import sys, time
from emr_fl_shared.processes import start_child
child = start_child(["-c", {SLEEP!r}])
print(child.pid, flush=True)
time.sleep(60)
"""


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are killed after the test whatever happens."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def child(started: list[subprocess.Popen[bytes]], code: str) -> subprocess.Popen[bytes]:
    """A child that is past its first lines."""
    process = start_child(["-c", code], stdout=subprocess.PIPE)
    started.append(process)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_child_ends_with_its_parent(started: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-P", "-c", PARENT], stdout=subprocess.PIPE)
    started.append(parent)
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    try:
        assert not gone(grandchild)
        parent.send_signal(number)
        assert parent.wait(10) == -number
        assert eventually(lambda: gone(grandchild))
    finally:
        if not gone(grandchild):
            os.kill(grandchild, signal.SIGKILL)


@pytest.mark.parametrize(
    ("code", "seconds", "status"),
    [
        pytest.param(DEAF, 0.5, -signal.SIGKILL, id="deaf"),
        pytest.param(POLITE, 10.0, 7, id="polite"),
    ],
)
def test_stopping_a_child(
    started: list[subprocess.Popen[bytes]], code: str, seconds: float, status: int
) -> None:
    process = child(started, code)
    began = time.monotonic()
    stop_child(process, seconds)
    assert process.returncode == status
    assert time.monotonic() - began < 5


def test_a_stopped_child_is_stopped_too(started: list[subprocess.Popen[bytes]]) -> None:
    process = child(started, POLITE)
    process.send_signal(signal.SIGSTOP)
    stop_child(process, 0.5)
    assert process.returncode == -signal.SIGKILL


def test_stopping_nothing(started: list[subprocess.Popen[bytes]]) -> None:
    stop_child(None)
    process = start_child(["-c", "raise SystemExit(3)"])
    started.append(process)
    process.wait(20)
    stop_child(process)
    assert process.returncode == 3


def test_no_interrupt_meant_for_the_parent_reaches_a_child(started: list[subprocess.Popen[bytes]]) -> None:
    process = child(started, f"{READY}; {SLEEP}")
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid != os.getsid(0)


def test_a_log_is_appended_to_and_the_owners(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    log = tmp_path / "child.log"
    for word in ("first", "second"):
        process = start_child(
            ["-c", f"import sys; print({word!r}); sys.stdout.flush(); print('error', file=sys.stderr)"],
            log=log,
        )
        started.append(process)
        assert process.wait(20) == 0
    assert log.read_text().split() == ["first", "error", "second", "error"]
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_child_has_the_quiet_environment(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    code = "import os; print(os.environ['FLWR_TELEMETRY_ENABLED'], os.environ['OWN'])"
    process = start_child(["-c", code], log=tmp_path / "log", environment={"OWN": "1"})
    started.append(process)
    assert process.wait(20) == 0
    assert (tmp_path / "log").read_text() == "0 1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("kept", [True, False], ids=["not asked", "asked"])
def test_a_crash_leaves_no_core_dump(kept: bool, tmp_path: Path) -> None:
    """With the limit lifted, as on a machine where somebody debugs."""
    setting = "" if kept else "from emr_fl_shared.processes import no_core_dumps; no_core_dumps(); "
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    program = f"import ctypes, os; {setting}print(ctypes.CDLL(None).prctl(3), flush=True); os.abort()"
    child = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_CORE, (most, most)),
    )
    assert child.returncode == -signal.SIGABRT
    assert child.stdout.strip() == ("1" if kept else "0"), "PR_GET_DUMPABLE"
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core" and most != 0:
        assert bool(list(tmp_path.iterdir())) == kept


def test_the_quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.delenv("FLWR_DISABLE_UPDATE_CHECK", raising=False)
    monkeypatch.setenv("OWN", "kept")
    quiet = quiet_environment({"MORE": "1"})
    assert (quiet["FLWR_TELEMETRY_ENABLED"], quiet["RAY_USAGE_STATS_ENABLED"]) == ("0", "0")
    assert quiet["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert (quiet["OWN"], quiet["MORE"]) == ("kept", "1")
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "1", "of a child only"
    assert quiet_environment({"PYTHONUNBUFFERED": ""})["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    ("variables", "exempt"),
    [
        pytest.param({}, "127.0.0.1,localhost", id="none"),
        pytest.param({"NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost", id="upper"),
        pytest.param({"no_proxy": "b.example"}, "b.example,127.0.0.1,localhost", id="lower"),
        pytest.param({"NO_PROXY": "", "no_proxy": "b.example"}, "b.example,127.0.0.1,localhost", id="empty"),
    ],
)
def test_no_proxy_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], exempt: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    quiet = quiet_environment()
    assert quiet["NO_PROXY"] == quiet["no_proxy"] == exempt


def test_a_free_port_can_be_opened() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
