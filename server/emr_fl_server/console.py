"""What a person sees while a federation runs: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from emr_fl_shared.messages import tr
from emr_fl_shared.wire import TrainReply


class RunConsole:
    """Prints to standard error what happens, one line an event; on a terminal with progress bars below."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> RunConsole:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, en: str, zh: str) -> None:
        """One line."""
        self._console.print(tr(en, zh), markup=False)

    def warn(self, en: str, zh: str) -> None:
        """One line that begins with a word of warning."""
        self.say(f"warning: {en}", f"警告：{zh}")

    def site_progress(self, site: str, event: dict[str, Any]) -> None:
        """A site's step within its round, or why its process ends; called from the grid's threads."""
        if event.get("doing") == "failed":
            self.warn(f"{site}: {event['reason']}", f"{site}：{event['reason']}")
            return
        if self._progress is None or "step" not in event:
            return
        with self._lock:
            if site not in self._tasks:
                self._tasks[site] = self._progress.add_task(f"  {site}", total=event["steps"], note="")
            self._progress.update(
                self._tasks[site],
                completed=event["step"],
                total=event["steps"],
                note=f"{tr('loss', '损失')} {event['loss']:.3f}",
            )

    def clear_sites(self) -> None:
        """Take away the sites' bars."""
        if self._progress is not None:
            with self._lock:
                for task in self._tasks.values():
                    self._progress.remove_task(task)
                self._tasks.clear()

    def observer(self, title: str) -> RoundObserver:
        """An observer of one federation that prints to this console."""
        return RoundObserver(self, title)


class RoundObserver:
    """Prints the rounds of one federation (`rounds.Observer`)."""

    def __init__(self, console: RunConsole, title: str) -> None:
        self._console = console
        self._title = title
        self._rounds = 0
        self._number = 0
        self._began = time.monotonic()
        self._durations: list[float] = []

    def missing(self, present: list[str], absent: list[str]) -> None:
        self._console.say(
            f"{self._title}: {len(present)} joined ({', '.join(present) or '–'}); missing: {', '.join(absent) or '–'}",
            f"{self._title}：已加入 {len(present)} 家（{'、'.join(present) or '–'}）；尚缺：{'、'.join(absent) or '–'}",
        )

    def joined(self, sites: list[str]) -> None:
        self._console.say(
            f"{self._title}: {len(sites)} sites: {', '.join(sites)}",
            f"{self._title}：{len(sites)} 家机构：{'、'.join(sites)}",
        )

    def resumed(self, round: int, passed_over: Sequence[str]) -> None:
        for warning in passed_over:
            self._console.warn(warning, warning)
        self._console.say(
            f"{self._title}: continues after round {round}", f"{self._title}：从第 {round} 轮之后继续"
        )

    def round_started(self, number: int, rounds: int, sites: list[str]) -> None:
        self._number, self._rounds = number, rounds
        self._began = time.monotonic()

    def replied(self, site: str, reply: TrainReply) -> None:
        if sys.stderr.isatty():
            loss = f"{reply.loss:.3f}" if reply.loss is not None else "–"
            self._console.say(
                f"  {site}: {reply.examples} records, loss {loss}, {reply.seconds:.1f} s",
                f"  {site}：{reply.examples} 条记录，损失 {loss}，{reply.seconds:.1f} 秒",
            )

    def refused(self, site: str, reason: str) -> None:
        self._console.warn(f"{site}: {reason}", f"{site}：{reason}")

    def late(self, site: str) -> None:
        self._console.warn(f"{site}: no answer within the round's deadline", f"{site}：未在本轮期限内应答")

    def round_failed(self, number: int, reason: str, pause: float) -> None:
        self._console.warn(
            f"round {number} does not count and is asked for again in {duration(pause)}: {reason}",
            f"第 {number} 轮无效，{duration(pause)}后重新进行：{reason}",
        )

    def aggregating(self, number: int) -> None:
        self._console.clear_sites()

    def round_ended(self, entry: dict[str, Any]) -> None:
        self._durations.append(time.monotonic() - self._began)
        left = (self._rounds - self._number) * sum(self._durations) / len(self._durations)
        names = {
            "standard": tr("standard", "标准"),
            "noisy": tr("noisy", "噪声"),
            "adversarial": tr("adversarial", "对抗"),
            "cross_site": tr("cross-site", "跨机构"),
        }
        scores = "  ".join(
            f"{name} {100 * entry['sets'][key]['macro_f1']:.1f}"
            for key, name in names.items()
            if key in entry["sets"]
        )
        loss = f"{entry['loss']:.3f}" if entry["loss"] is not None else "–"
        if "masked_accuracy" in entry["validation"]:
            filled = f"{100 * entry['validation']['masked_accuracy']:.1f}"
            self._console.say(
                f"pretraining {self._number:>2}/{self._rounds} loss {loss}  masked tokens filled in %: {filled}"
                f"  ({self._durations[-1]:.1f} s, about {duration(left)} left)",
                f"预训练第 {self._number:>2}/{self._rounds} 轮 损失 {loss}  填对的掩码标记 %：{filled}"
                f"  （{self._durations[-1]:.1f} 秒，约剩 {duration(left)}）",
            )
            return
        mark = "*" if entry["best"] else " "
        self._console.say(
            f"round {self._number:>2}/{self._rounds}{mark} loss {loss}  macro-F1 %: {scores}"
            f"  ({self._durations[-1]:.1f} s, about {duration(left)} left)",
            f"第 {self._number:>2}/{self._rounds} 轮{mark} 损失 {loss}  macro-F1 %：{scores}"
            f"  （{self._durations[-1]:.1f} 秒，约剩 {duration(left)}）",
        )


def duration(seconds: float) -> str:
    """`75` → `1m15s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
