"""One process at a time in a folder: the lock that a simulation, a server and a site hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emr_fl_client.join.supervisor import Join
from emr_fl_server.superlink.supervisor import Server
from emr_fl_shared.errors import StorageError, UsageError
from emr_fl_shared.locks import RUN_LOCK, in_turn, only_one


def server(folder: Path) -> AbstractContextManager[None]:
    return Server(cast(Any, None), folder, "127.0.0.1", 1)._locked()


def site(folder: Path) -> AbstractContextManager[None]:
    return Join(cast(Any, SimpleNamespace(state=folder)))._locked()


@pytest.mark.parametrize(
    ("lock", "name", "said"),
    [(server, RUN_LOCK, "at work in this folder"), (site, ".lock", "has joined already")],
)
def test_server_and_site_hold_the_lock_of_their_folder(
    tmp_path: Path, lock: Callable[[Path], AbstractContextManager[None]], name: str, said: str
) -> None:
    with only_one(tmp_path / name, "other"), pytest.raises(UsageError, match=said), lock(tmp_path):
        raise AssertionError
    with lock(tmp_path), pytest.raises(UsageError, match="other"), only_one(tmp_path / name, "other"):
        raise AssertionError
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from emr_fl_shared.locks import only_one\n"
        "with only_one(Path(sys.argv[1]), ''): print('held', flush=True); time.sleep(60)"
    )
    lock = tmp_path / RUN_LOCK
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script, str(lock)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="busy") as caught, only_one(lock, "busy", do="wait"):
            raise AssertionError
        holder.kill()
    assert (caught.value.where, caught.value.do) == (str(tmp_path), "wait")
    with only_one(lock, "busy"):
        pass


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError), only_one(tmp_path / "missing" / RUN_LOCK, "busy"):
        raise AssertionError


def test_who_comes_second_waits_for_its_turn(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from emr_fl_shared.locks import in_turn\n"
        "with in_turn(Path(sys.argv[1])): print('held', flush=True); time.sleep(0.5); Path(sys.argv[2]).touch()"
    )
    lock, done = tmp_path / ".lock", tmp_path / "done"
    command = [sys.executable, "-c", program, str(lock), str(done)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with in_turn(lock):
            assert done.exists()
    with in_turn(lock):
        pass


def test_a_turn_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError), in_turn(tmp_path / "missing" / ".lock"):
        raise AssertionError
