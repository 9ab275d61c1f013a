"""What the gateway sees of the sites, in a file that the other processes of the server read."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

PRESENCE_FILE = "presence.json"
NODES_FILE = "nodes.json"
"""Fingerprint of a node's key → its id at Flower; written by the supervisor."""


NewsT = TypeVar("NewsT")


@dataclass
class Seen:
    """One site: `last_seen` seconds since 1970, bytes through the gateway since it started, its node's incarnation."""

    last_seen: float = 0.0
    incarnation: str = ""
    bytes_up: int = 0
    bytes_down: int = 0
    emr_fl: str = ""


class PresenceBoard:
    """Written by the gateway, at most once a second; a lost write costs a second of news."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PRESENCE_FILE
        self._written = 0.0
        self._coming: dict[str, str] = {}
        # a gateway that was started again goes on with what its predecessor knew
        self.sites = read_presence(folder)

    def seen(self, site: str, *, up: int = 0, down: int = 0) -> None:
        """Note a sign of life and the bytes that came with it."""
        known = self.sites.setdefault(site, Seen())
        known.last_seen = time.time()
        known.bytes_up += up
        known.bytes_down += down
        if time.monotonic() - self._written > 1.0:
            self.write()

    def greeted(self, site: str, incarnation: str, version: str) -> None:
        """A site said hello; with an incarnation, its node is about to be started anew."""
        known = self.sites.setdefault(site, Seen())
        if incarnation:
            self._coming[site] = incarnation
        known.emr_fl = version
        known.last_seen = time.time()
        self.write()

    def activated(self, site: str) -> None:
        """Flower took the site's node in: from now on it is the one that greeted last."""
        if site in self._coming:
            self.sites.setdefault(site, Seen()).incarnation = self._coming.pop(site)
            self.write()

    def write(self) -> None:
        """Replace the file."""
        self._written = time.monotonic()
        replace_json(self._path, {name: asdict(seen) for name, seen in sorted(self.sites.items())})


def replace_json(path: Path, value: Any) -> None:
    """Replace a small file of news, readable by the owner only; a full disk loses the news, not the federation."""
    part = path.with_suffix(".part")
    with contextlib.suppress(OSError):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False)
        os.replace(part, path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small file of news; empty where there is none, or something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def typed(kind: TypeAdapter[NewsT], value: object) -> NewsT | None:
    """`value` from a file of news, or `None` where it is not of that kind."""
    try:
        # as JSON again: strict validation takes no plain object for a dataclass otherwise
        return kind.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return None


_SEEN = TypeAdapter(Seen)
_ID = re.compile(r"[0-9]{1,20}")


def read_presence(folder: Path) -> dict[str, Seen]:
    """The board as last written, without entries that are none; empty while there is none."""
    found = {name: typed(_SEEN, value) for name, value in read_json(folder / PRESENCE_FILE).items()}
    return {name: seen for name, seen in found.items() if seen is not None}


class FilePresence:
    """`asking.Presence` from the files of the gateway and the supervisor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def incarnation(self, site: str) -> str:
        """The node's incarnation that the gateway saw last."""
        seen = read_presence(self._folder).get(site)
        return seen.incarnation if seen else ""

    def struck_off(self, node: int) -> bool:
        """Whether the supervisor's list has other nodes than this one; without a list nobody is struck off."""
        nodes = read_nodes(self._folder)
        return bool(nodes) and node not in nodes.values()

    def seen_within(self, site: str, seconds: float) -> bool:
        """Whether something of the site passed the gateway in the last `seconds`."""
        seen = read_presence(self._folder).get(site)
        return seen is not None and seen.last_seen > time.time() - seconds


def read_nodes(folder: Path) -> Mapping[str, int]:
    """The nodes that are registered with Flower, without entries that are none; empty while there are none.

    The ids are written as text.
    """
    nodes = read_json(folder / NODES_FILE)
    return {key: int(node) for key, node in nodes.items() if isinstance(node, str) and _ID.fullmatch(node)}
