"""Records cleaned by several processes, in the order in which they came.

Each process is a child of this one (`cleaning_process.py`) and gets the cleaner and its batches through a socket pair that no
other program can reach: nothing of a record is on disk or in an argument. A child ends when its socket closes, however its parent
ended. If a child is killed, its batches are cleaned here: the result is the same, and only time is lost.

`EMR_FL_PROCESSES` in the environment is the most that may work at once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr
from emr_fl_shared.processes import start_child

PROCESSES = "EMR_FL_PROCESSES"
MOST = 8
_BATCH = 64
_WAITING_EACH = 2
_MODULE = "emr_fl_shared.deidentify.cleaning_process"

Given = TypeVar("Given")
Result = TypeVar("Result")


def processes() -> int:
    """How many may clean at once: as many as this process has processors, at most 8, or as `EMR_FL_PROCESSES` says.

    Raises `SettingsError` if that is no number above 0.
    """
    wanted = os.environ.get(PROCESSES, "").strip()
    if not wanted:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, MOST)
    if not wanted.isascii() or not wanted.isdecimal() or int(wanted) < 1:
        raise SettingsError(
            tr("not a number of processes", "不是有效的进程数"),
            where=PROCESSES,
            got=wanted,
            expected=tr("a whole number above 0", "大于 0 的整数"),
        )
    return int(wanted)


def in_parallel(
    work: Callable[[Given], Result], given: Iterable[Given], *, count: int
) -> Iterator[tuple[Given, Result]]:
    """Each of `given` with what `work` makes of it, in order. `count` children work, from the first of `given` on; `work` and all
    values must be picklable."""
    waiting: deque[tuple[_Worker[Given, Result], list[Given]]] = deque()
    rest = iter(given)
    workers: list[_Worker[Given, Result]] = []
    with contextlib.ExitStack() as stack:
        for turn in itertools.count():
            if not (batch := list(islice(rest, _BATCH))):
                break
            if not workers:
                workers = [stack.enter_context(_Worker(work)) for _ in range(count)]
            worker = workers[turn % count]
            worker.give(batch)
            waiting.append((worker, batch))
            if len(waiting) >= _WAITING_EACH * count:
                yield from _take(waiting)
        while waiting:
            yield from _take(waiting)


def _take(waiting: deque[tuple[_Worker[Given, Result], list[Given]]]) -> Iterator[tuple[Given, Result]]:
    worker, batch = waiting.popleft()
    yield from zip(batch, worker.take(batch), strict=True)


class _Worker(Generic[Given, Result]):
    """A child that does `work`, and this process in its place once it is gone."""

    def __init__(self, work: Callable[[Given], Result]) -> None:
        self._work = work

    def __enter__(self) -> _Worker[Given, Result]:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = start_child(["-m", _MODULE, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        self._connection: Connection[Any, Any] | None = Connection(ours.detach())
        self._send(self._work)
        return self

    def give(self, batch: list[Given]) -> None:
        self._send(batch)

    def take(self, batch: list[Given]) -> list[Result]:
        """The results of the oldest batch that was given and not taken, which is `batch`."""
        if self._connection is not None:
            try:
                results: list[Result] = self._connection.recv()
                return results
            except (EOFError, OSError):
                self._close()
        return [self._work(each) for each in batch]

    def _send(self, what: object) -> None:
        if self._connection is not None:
            try:
                self._connection.send(what)
            except OSError:
                self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._child.kill()  # it has nothing to finish
        self._child.wait()
