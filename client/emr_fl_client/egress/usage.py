"""What has left a site so far, read off its audit log: rounds, bytes and questions that were answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Entry = dict[str, Any]
WITHHELD = "withheld"
"""An entry that says that the one it names did not leave after all: the kill switch came between."""
ASKED_AGAIN = 3
"""A coordinator that crashed, or whose newest checkpoint is damaged, asks one of its last questions again."""


@dataclass(frozen=True)
class Usage:
    """The entries of messages that left."""

    left: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Usage:
        """From all entries of a log."""
        entries = list(entries)
        withheld = {entry.get("of") for entry in entries if entry.get("kind") == WITHHELD}
        return cls(tuple(e for e in entries if "body_bytes" in e and e["seq"] not in withheld))

    def bytes_on(self, day: str) -> int:
        """Bytes that left on a local date (`2026-11-24`)."""
        return sum(_bytes(entry) for entry in self.left if str(entry["time"]).startswith(day))

    def bytes_in(self, run: str | None, round: int | None, besides: str) -> int:
        """Bytes that left in a round. The same bytes sent again (`besides`: the digest of those about to leave) count once."""
        found = {
            entry["sha256"]: _bytes(entry)
            for entry in self.left
            if (entry.get("run"), entry.get("round")) == (run, round)
        }
        return sum(size for digest, size in found.items() if digest != besides)

    def rounds(self, run: str | None) -> set[str]:
        """The questions of a run that were answered with an update."""
        return {_question(e) for e in self._updates() if e.get("run") == run}

    def updates(self, policy: str) -> set[str]:
        """The questions that were answered with an update under the policy of this digest."""
        return {_question(e) for e in self._updates() if e.get("policy") == policy}

    def over(self, question: str) -> str | None:
        """When the question was answered, if it is none of the last `ASKED_AGAIN` that were; `None` otherwise."""
        when: dict[str, str] = {}
        for entry in self._updates():
            when.pop(_question(entry), None)
            when[_question(entry)] = str(entry["time"])
        return when.get(question) if question not in list(when)[-ASKED_AGAIN:] else None

    def _updates(self) -> Iterable[Entry]:
        return (entry for entry in self.left if entry["kind"] == "trained")


def _bytes(entry: Entry) -> int:
    return int(entry["body_bytes"]) + int(entry["payload_bytes"])


def _question(entry: Entry) -> str:
    return str(entry.get("question") or entry["sha256"])
