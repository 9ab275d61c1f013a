"""One process at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emr_fl_shared.durable import storage_error
from emr_fl_shared.errors import UsageError

RUN_LOCK = ".run.lock"
"""In a run folder: held by the simulation or the server that works there."""


@contextmanager
def only_one(lock: Path, message: str, *, do: str = "") -> Iterator[None]:
    """Hold the file `lock`, which is made if need be. It goes with the process, so that a killed one leaves none behind.

    Raises `UsageError` with `message` where another process holds it, `StorageError` where the file can't be made.
    """
    with _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB) as held:
        if not held:
            raise UsageError(message, where=str(lock.parent), do=do)
        yield


@contextmanager
def in_turn(lock: Path) -> Iterator[None]:
    """Wait for the file `lock`, which is made if need be, and hold it. It goes with the process.

    Raises `StorageError` where the file can't be made or locked.
    """
    with _locked(lock, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(lock: Path, operation: int) -> Iterator[bool]:
    """Whether the lock is held: False only where `operation` does not wait and another process holds it."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(error, lock.parent) from error
    try:
        try:
            fcntl.flock(descriptor, operation)
            held = True
        except OSError as error:
            waits = not operation & fcntl.LOCK_NB
            if waits or error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise storage_error(error, lock.parent) from error  # a file system without locks
            held = False
        yield held
    finally:
        os.close(descriptor)
