"""The cells of an experiment, one after the other or some at a time: each in a process that ends with this one, resumed where it
stood, and its failure nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from emr_fl_deploy.experiments.plan import Cell, Plan
from emr_fl_deploy.experiments.tracking import Tracker
from emr_fl_server.console import duration
from emr_fl_shared.messages import language, tr
from emr_fl_shared.processes import start_child, stop_child

_POLL_SECONDS = 0.5
_STOP_SECONDS = 60.0
"""A run that is asked to stop ends its round's step and its sites' processes first."""
CORES_PER_RUN = 4
MEMORY_PER_RUN = 4e9
"""A run of `tiny` with four sites needs 2.6 GB at its peak (docs/results.md)."""


def default_jobs(gpus: float) -> int:
    """Runs at a time: as many as have four cores and 4 GB of free memory each, at least one; one where they share GPUs."""
    if gpus > 0:
        return 1
    return max(
        1, min(len(_cores()) // CORES_PER_RUN, int(psutil.virtual_memory().available / MEMORY_PER_RUN))
    )


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def shared_out(cores: Sequence[int], jobs: int) -> list[list[int]]:
    """The cores of each of `jobs` runs: disjoint, as even as can be; with fewer cores than runs each has all of them."""
    if jobs > len(cores):
        return [list(cores)] * jobs
    return [list(cores[number::jobs]) for number in range(jobs)]


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    offset: int
    began: float
    slot: int


@dataclass
class Runner:
    """Runs the cells of `plan` in the folder `out` that are not done; `after` is called whenever one has ended."""

    plan: Plan
    out: Path
    jobs: int
    gpus: float = 0.0
    after: Callable[[Mapping[Cell, str]], object] = lambda _: None
    failures: dict[Cell, str] = field(default_factory=dict)
    """What the cells that failed said last."""
    _spent: dict[str, list[float]] = field(default_factory=dict)
    _running: list[_Running] = field(default_factory=list)

    def run(self, cells: Sequence[Cell]) -> None:
        """Run what is not done. A cell that fails is noted in `failures` and the others go on.

        Ctrl-C asks the runs that are at work to stop, waits until their complete rounds are safe, and is raised on.
        """
        waiting = [cell for cell in cells if not cell.done(self.out)]
        total, done = len(cells), len(cells) - len(waiting)
        if done:
            _say(f"{done} of {total} runs were finished before", f"此前已完成 {done}/{total} 个运行")
        slots = shared_out(_cores(), self.jobs)
        with ExitStack() as held:
            tracker = held.enter_context(Tracker(self.out))
            for cell in cells:
                if cell.done(self.out) and not tracker.has(
                    cell
                ):  # stopped between the run's end and its event file
                    tracker.finished(cell, self._settings(cell))
            try:
                while waiting or self._running:
                    free = [
                        n for n in range(self.jobs) if n not in {running.slot for running in self._running}
                    ]
                    while waiting and free:
                        self._start(waiting.pop(0), free.pop(0), slots)
                    time.sleep(_POLL_SECONDS)
                    for running in [*self._running]:
                        tracker.follow(running.cell)
                        if running.process.poll() is not None:
                            done += 1
                            self._ended(running, f"[{done}/{total}]", waiting, tracker)
            finally:
                for running in self._running:
                    running.process.terminate()
                for running in self._running:
                    stop_child(running.process, _STOP_SECONDS)

    def _start(self, cell: Cell, slot: int, slots: Sequence[Collection[int]]) -> None:
        self.plan.prepare_data(self.out, cell.seed)
        log = cell.beside(self.out, "logs", ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["experiment", "cell", str(self.out), cell.configuration, str(cell.seed)]
        if cell.site:
            arguments += ["--site", cell.site]
        if self.gpus > 0:
            arguments += ["--gpus", str(self.gpus)]
        if self.jobs > 1:
            arguments += ["--cores", ",".join(map(str, slots[slot]))]
        offset = log.stat().st_size if log.is_file() else 0
        process = start_child(["-m", "emr_fl_deploy.cli", "--lang", language(), *arguments], log=log)
        self._running.append(_Running(cell, process, log, offset, time.monotonic(), slot))
        _say(f"{cell.name} …", f"{cell.name} …")

    def _ended(self, running: _Running, place: str, waiting: Sequence[Cell], tracker: Tracker) -> None:
        self._running.remove(running)
        cell, seconds = running.cell, time.monotonic() - running.began
        if running.process.returncode == 0 and cell.done(self.out):
            self._spent.setdefault(cell.configuration, []).append(seconds)
            tracker.finished(cell, self._settings(cell))
            self.after(self.failures)
            left = self._left(waiting)
            _say(
                f"{place} {cell.name}: done in {duration(seconds)}, about {duration(left)} left",
                f"{place} {cell.name}：完成，用时 {duration(seconds)}，约剩 {duration(left)}",
            )
            return
        self.failures[cell] = last_error(running.log, running.offset, running.process.returncode)
        self.after(self.failures)
        _say(
            f"{place} {cell.name}: FAILED: {self.failures[cell]}",
            f"{place} {cell.name}：失败：{self.failures[cell]}",
        )

    def _settings(self, cell: Cell) -> dict[str, Any]:
        return self.plan.cell_settings(self.plan.experiment.of(cell.configuration), ())

    def _left(self, waiting: Sequence[Cell]) -> float:
        """Seconds until all is done: what this call's runs took, by configuration where one of it ran, otherwise in proportion to
        the minutes that the experiment expects."""
        expected = {item.id: item.minutes or 1.0 for item in self.plan.experiment.configuration}
        spent = sum(sum(times) for times in self._spent.values())
        foreseen = sum(expected[name] * len(times) for name, times in self._spent.items())
        pace = spent / foreseen if foreseen else 60.0

        def seconds(cell: Cell) -> float:
            own = self._spent.get(cell.configuration)
            return sum(own) / len(own) if own else expected[cell.configuration] * pace

        now = time.monotonic()
        begun = sum(max(0.0, seconds(running.cell) - (now - running.began)) for running in self._running)
        return (begun + sum(map(seconds, waiting))) / self.jobs


def last_error(log: Path, offset: int, code: int) -> str:
    """What the run said last of itself: the lines from its last `error:` on, in one; or how it ended."""
    text = log.read_bytes()[offset:].decode("utf-8", "replace")
    lines = text.splitlines()
    marks = tuple(f"{word}:" for word in ("error", "错误"))
    starts = [number for number, line in enumerate(lines) if line.startswith(marks)]
    if starts:
        return " ".join(line.strip() for line in lines[starts[-1] :]).partition(": ")[2]
    if code < 0:
        return tr(
            f"ended by signal {-code} (9: killed, often for memory); {log}",
            f"被信号 {-code} 结束（9 表示被杀死，多因内存不足）；{log}",
        )
    return tr(f"ended with {code} and said nothing; {log}", f"以 {code} 退出，未给出原因；{log}")


def _say(en: str, zh: str) -> None:
    print(tr(en, zh), file=sys.stderr, flush=True)
