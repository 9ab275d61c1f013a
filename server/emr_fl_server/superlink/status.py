"""Where a real federation stands, on disk: written by the process that runs the rounds, read by `status` and the gateway."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from emr_fl_server.superlink.presence import Seen, read_json, replace_json, typed
from emr_fl_shared.hello import Phase
from emr_fl_shared.wire import TrainReply

FOLDER = "superlink"
"""In the run folder: what a start of the server needs beside the results, made anew each time."""
PROGRESS_FILE = "progress.json"
SERVER_FILE = "server.json"
STOP_FILE = "stop"
ALIVE_SECONDS = 90.0
"""A node sends a heartbeat every 15 to 30 s."""


@dataclass(frozen=True)
class Progress:
    """What the round loop says of itself."""

    phase: Phase = "starting"
    round: int = 0
    rounds: int = 0
    since: float = 0.0
    asked: list[str] = field(default_factory=list)
    replied: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    best_round: int = 0
    seconds_per_round: float | None = None
    note: str = ""


_PROGRESS = TypeAdapter(Progress)


def read_progress(folder: Path) -> Progress:
    """The last word of the round loop; the initial one while there is none."""
    return typed(_PROGRESS, read_json(folder / PROGRESS_FILE)) or Progress()


class ProgressWriter:
    """`rounds.Observer` that writes `progress.json` and hands everything on to another observer."""

    def __init__(self, folder: Path, beside: Any) -> None:
        self._path = folder / PROGRESS_FILE
        self._beside = beside
        self._began = time.monotonic()
        self._seconds: list[float] = []
        self.progress = Progress()

    def set(self, **changes: Any) -> None:
        """Change some fields and replace the file."""
        if "phase" in changes and changes["phase"] != self.progress.phase:
            changes.setdefault("since", time.time())
        self.progress = replace(self.progress, **changes)
        replace_json(self._path, asdict(self.progress))

    def missing(self, present: list[str], absent: list[str]) -> None:
        self.set(phase="waiting", asked=present, missing=absent)
        self._beside.missing(present, absent)

    def joined(self, sites: list[str]) -> None:
        self.set(phase="waiting", asked=sites, missing=[])
        self._beside.joined(sites)

    def resumed(self, round: int, passed_over: Sequence[str]) -> None:
        self.set(round=round)
        self._beside.resumed(round, passed_over)

    def round_started(self, number: int, rounds: int, sites: list[str]) -> None:
        self._began = time.monotonic()
        self.set(
            phase="training",
            since=time.time(),
            round=number,
            rounds=rounds,
            asked=sites,
            replied={},
            refused={},
            late=[],
            note="",
        )
        self._beside.round_started(number, rounds, sites)

    def replied(self, site: str, reply: TrainReply) -> None:
        self.set(replied={**self.progress.replied, site: time.time()})
        self._beside.replied(site, reply)

    def refused(self, site: str, reason: str) -> None:
        self.set(refused={**self.progress.refused, site: reason})
        self._beside.refused(site, reason)

    def late(self, site: str) -> None:
        self.set(late=[*self.progress.late, site])
        self._beside.late(site)

    def aggregating(self, number: int) -> None:
        self.set(phase="evaluating")
        self._beside.aggregating(number)

    def round_failed(self, number: int, reason: str, pause: float) -> None:
        self.set(phase="waiting", note=reason)
        self._beside.round_failed(number, reason, pause)

    def budget_spent(self, number: int, reason: str) -> None:
        self.set(note=reason)
        self._beside.budget_spent(number, reason)

    def round_ended(self, entry: dict[str, Any]) -> None:
        self._seconds.append(time.monotonic() - self._began)
        self.set(
            scores={name: scores["macro_f1"] for name, scores in entry["sets"].items()},
            best_round=entry["round"] if entry["best"] else self.progress.best_round,
            seconds_per_round=sum(self._seconds) / len(self._seconds),
        )
        self._beside.round_ended(entry)


@dataclass(frozen=True)
class SiteStatus:
    """A site as the coordinator sees it: `state` is never seen | away | here | training | done | late | refused | revoked | expired."""

    name: str
    state: str
    last_seen_s: float | None
    bytes_up: int
    bytes_down: int
    emr_fl: str
    certificate_days: int | None


def site_states(
    progress: Progress, seen: dict[str, Seen], standings: dict[str, tuple[str, int | None]]
) -> list[SiteStatus]:
    """One line a site of the registry. `standings`: name → (validity of its key, days left)."""
    now = time.time()
    rows = []
    for name, (validity, days) in sorted(standings.items()):
        known = seen.get(name)
        ago = now - known.last_seen if known and known.last_seen else None
        if validity != "valid":
            state = validity
        elif ago is None:
            state = "never seen"
        elif ago > ALIVE_SECONDS:
            state = "away"
        elif name in progress.late:
            state = "late"
        elif name in progress.refused:
            state = "refused"
        elif progress.phase == "training" and name in progress.asked:
            state = "done" if name in progress.replied else "training"
        else:
            state = "here"
        rows.append(
            SiteStatus(
                name,
                state,
                ago,
                known.bytes_up if known else 0,
                known.bytes_down if known else 0,
                known.emr_fl if known else "",
                days,
            )
        )
    return rows
