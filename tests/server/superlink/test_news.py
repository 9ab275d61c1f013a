"""The small files by which the server's processes tell each other the news: whatever stands in them, nobody falls over it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from emr_fl_server.superlink.presence import (
    NODES_FILE,
    PRESENCE_FILE,
    FilePresence,
    PresenceBoard,
    Seen,
    read_nodes,
    read_presence,
)
from emr_fl_server.superlink.status import PROGRESS_FILE, Progress, read_progress, site_states

ODD = [
    pytest.param("", id="empty"),
    pytest.param('{"a', id="half"),
    pytest.param("[1, 2]", id="list"),
    pytest.param("7", id="number"),
    pytest.param('"text"', id="text"),
    pytest.param("null", id="null"),
    pytest.param("[" * 100_000, id="deep"),
    pytest.param("\udcff", id="no UTF-8"),
]
READERS: list[Any] = [
    pytest.param(PRESENCE_FILE, read_presence, {}, id="presence"),
    pytest.param(NODES_FILE, read_nodes, {}, id="nodes"),
    pytest.param(PROGRESS_FILE, read_progress, Progress(), id="progress"),
]


def write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize(("name", "read", "nothing"), READERS)
def test_a_file_that_is_no_object_is_absent(
    tmp_path: Path, name: str, read: Callable[[Path], object], nothing: object, text: str
) -> None:
    write(tmp_path / name, text)
    assert read(tmp_path) == nothing


@pytest.mark.parametrize(
    "entry",
    [
        None,
        3,
        "x",
        [1],
        {"last_seen": None},
        {"last_seen": "yesterday"},
        {"last_seen": []},
        {"incarnation": 5},
        {"bytes_up": None},
        {"bytes_down": 1.5},
        {"emr_fl": {}},
    ],
    ids=str,
)
def test_an_odd_entry_of_the_presence_is_absent_and_the_others_stay(tmp_path: Path, entry: object) -> None:
    good = {"last_seen": 5, "incarnation": "i", "bytes_up": 1, "bytes_down": 2, "emr_fl": "0.1.0"}
    write(tmp_path / PRESENCE_FILE, json.dumps({"north": entry, "south": good}))
    assert read_presence(tmp_path) == {"south": Seen(5.0, "i", 1, 2, "0.1.0")}
    assert FilePresence(tmp_path).incarnation("north") == ""
    assert FilePresence(tmp_path).incarnation("south") == "i"
    board = PresenceBoard(tmp_path)
    board.seen("north", up=3)
    assert read_presence(tmp_path)["north"].bytes_up == 3
    standings = {name: ("valid", 100) for name in ("north", "south")}
    rows = site_states(Progress(), read_presence(tmp_path), dict(standings))
    assert [row.state for row in rows] == ["here", "away"]


@pytest.mark.parametrize(
    "entry", [None, [], {}, "", "x", "-1", "1e3", 1.5, True, pytest.param("9" * 5000, id="long")], ids=repr
)
def test_an_odd_node_is_absent_and_the_others_stay(tmp_path: Path, entry: object) -> None:
    write(tmp_path / NODES_FILE, json.dumps({"a": entry, "b": "18446744073709551615"}))
    assert read_nodes(tmp_path) == {"b": 2**64 - 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": None},
        {"phase": "dreaming"},
        {"round": None},
        {"round": "2"},
        {"rounds": []},
        {"asked": None},
        {"asked": "north"},
        {"asked": [1]},
        {"refused": []},
        {"replied": {"north": "now"}},
        {"scores": {"standard": None}},
        {"since": {}},
    ],
    ids=str,
)
def test_odd_progress_is_absent(tmp_path: Path, changes: dict[str, object]) -> None:
    good = {"phase": "training", "round": 2, "asked": ["north"], "since": 1}
    write(tmp_path / PROGRESS_FILE, json.dumps(good))
    assert read_progress(tmp_path) == Progress("training", 2, since=1.0, asked=["north"])
    write(tmp_path / PROGRESS_FILE, json.dumps(good | changes))
    assert read_progress(tmp_path) == Progress()


def test_a_node_is_struck_off_when_the_list_has_only_others(tmp_path: Path) -> None:
    presence = FilePresence(tmp_path)
    assert not presence.struck_off(7)
    write(tmp_path / NODES_FILE, '{"f": "7", "g": "8"}')
    assert not presence.struck_off(7)
    write(tmp_path / NODES_FILE, '{"g": "8"}')
    assert presence.struck_off(7)


def test_a_site_was_seen_if_something_of_it_passed_lately(tmp_path: Path) -> None:
    presence = FilePresence(tmp_path)
    assert not presence.seen_within("north", 60.0)
    write(tmp_path / PRESENCE_FILE, json.dumps({"north": asdict(Seen(last_seen=time.time() - 30))}))
    assert presence.seen_within("north", 60.0) and not presence.seen_within("north", 20.0)
    assert not presence.seen_within("south", 60.0)
