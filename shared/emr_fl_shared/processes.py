"""Children that a supervisor starts: they end with it, hear no Ctrl-C meant for it, and phone nobody."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

FLOWER_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Flower sends telemetry and looks for updates unless it is told not to."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
STOP_SECONDS = 10.0


def quiet_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a child, without proxies for addresses on this machine."""
    loopback = "127.0.0.1,localhost"
    exempt = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), loopback)))
    return {
        **os.environ,
        **FLOWER_ENVIRONMENT,
        "NO_PROXY": exempt,
        "no_proxy": exempt,
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **(extra or {}),
    }


def start_child(
    arguments: Sequence[str],
    *,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `python -P ARGUMENTS` in a session of its own; it is killed when the calling process ends, however it ends.

    With `log`, both outputs are appended there (mode 0600); `pass_fds` stay open in the child. Call it from the main thread: Linux
    sends the signal when the thread that started the child ends.
    """
    command = [sys.executable, "-P", *arguments]
    extra = {} if environment is None else environment
    with contextlib.ExitStack() as stack:
        if log is not None:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            stdout = stderr = descriptor
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=quiet_environment(extra),
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=partial(_die_with_parent, os.getpid()),
        )


def stop_child(process: subprocess.Popen[bytes] | None, seconds: float = STOP_SECONDS) -> None:
    """End a child: politely first, then not."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def no_core_dumps() -> None:
    """When this process crashes, its memory, which may hold records and keys, is not written to a file.

    The limit of size 0 goes over to all children. A program that takes dumps through a pipe (`core_pattern`) never hears of
    it, so on Linux the process is also made not dumpable; that is asked for again after every exec.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


@contextmanager
def on_stop_signals(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `handle` for SIGINT and SIGTERM inside the block; the handlers before come back after it. Main thread only."""
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def free_port() -> int:
    """A port on the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the request was made
            os._exit(1)
