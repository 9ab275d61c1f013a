"""Who is in: waiting for sites, late joiners, nodes that are not who they say they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emr_fl_server import asking, roster
from emr_fl_server.federation import Federation
from emr_fl_server.roster import ASK_AGAIN_SECONDS, JOIN_SECONDS, Roster
from emr_fl_shared.config import settings_from
from emr_fl_shared.errors import FederationError, Interrupted
from emr_fl_shared.wire import DescribeReply, Failure, pack
from memory_grid import LOST, Clock, Fail, MemoryGrid, Node, Say


class Watcher:
    """An observer that writes down what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def missing(self, present: list[str], absent: list[str]) -> None:
        self.heard.append(("missing", (present, absent)))

    def joined(self, sites: list[str]) -> None:
        self.heard.append(("joined", sites))

    def refused(self, site: str, reason: str) -> None:
        self.heard.append(("refused", (site, reason)))

    def of(self, kind: str) -> list[Any]:
        return [what for name, what in self.heard if name == kind]

    def __getattr__(self, name: str) -> Callable[..., None]:
        raise AssertionError(f"unexpected: {name}")


def named(name: str) -> Say:
    return Say(pack(DescribeReply(site=name, emr_fl="0", python="3", torch="2")))


def site(name: str, *before: Say | Fail | None) -> Node:
    """A node that answers in its own name, after what it answers `before`."""
    return Node(name, [*before, named(name)])


FAILED = Say(pack(Failure(site="a", cause="data", reason="the export is missing")))


class Table:
    """A roster over an in-memory grid."""

    def __init__(self, clock: Clock, folder: Path, nodes: dict[int, Node], **more: Any) -> None:
        self.grid = MemoryGrid(clock, nodes)
        self.watcher = Watcher()
        self.stop = False
        names = more.pop("site_names", ("a", "b", "c"))
        self.federation = Federation(
            settings_from({"federation": {"name": "study", "min_sites": 2}}),
            folder,
            lambda taxonomy: None,  # type: ignore[arg-type,return-value]
            lambda: [],
            site_names=names,
            stop_requested=lambda: self.stop,
            **more,
        )
        self.agreed: list[str] | None = None
        self.federation.agree = self._agree  # type: ignore[method-assign]
        self.roster = Roster(self.grid, self.federation, self.watcher)  # type: ignore[arg-type]

    def _agree(self, described: dict[str, DescribeReply]) -> None:
        self.agreed = sorted(described)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", clock)
    monkeypatch.setattr(roster, "time", clock)
    return clock


def test_all_there_begin_at_once(clock: Clock, tmp_path: Path) -> None:
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b"), 4: site("c")}, waits=True)
    table.roster.gather()
    assert table.agreed == ["a", "b", "c"] and table.watcher.of("joined") == [["a", "b", "c"]]
    assert clock.now - 1000 < 2
    assert table.roster.present() == {"a": 2, "b": 3, "c": 4}
    assert len(table.grid.pushes) == 3, "each is asked once who it is"


def test_the_missing_are_named_and_waited_for_a_while(clock: Clock, tmp_path: Path) -> None:
    table = Table(clock, tmp_path, {2: site("a")}, waits=True)
    clock.after(3600, lambda: table.grid.nodes.update({3: site("b")}))
    table.roster.gather()
    assert table.agreed == ["a", "b"]
    assert table.watcher.of("missing") == [(["a"], ["b", "c"]), (["a", "b"], ["c"])]
    assert 3600 + JOIN_SECONDS <= clock.now - 1000 <= 3600 + JOIN_SECONDS + 2


class Seen:
    """A presence in which some sites gave a sign of life a moment ago, and some nodes were struck off."""

    def __init__(self) -> None:
        self.lately: set[str] = set()
        self.gone: set[int] = set()

    def incarnation(self, site: str) -> str:
        return ""

    def struck_off(self, node: int) -> bool:
        return node in self.gone

    def seen_within(self, site: str, seconds: float) -> bool:
        return site in self.lately


def test_a_site_that_is_away_for_a_moment_is_asked_too(clock: Clock, tmp_path: Path) -> None:
    presence = Seen()
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b"), 4: site("c")}, waits=True, presence=presence)
    table.roster.gather()
    table.grid.nodes[2].status = table.grid.nodes[3].status = "offline"
    presence.lately = {"a"}
    assert table.roster.present() == {"a": 2, "c": 4}
    presence.gone = {2}
    assert table.roster.present() == {"c": 4}


def test_a_late_joiner_is_present_next_time(clock: Clock, tmp_path: Path) -> None:
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b")}, waits=True, site_names=("a", "b"))
    table.roster.gather()
    table.grid.nodes[4] = site("c")
    assert table.roster.present() == {"a": 2, "b": 3, "c": 4}
    table.grid.nodes[2].status = "offline"
    assert table.roster.present() == {"b": 3, "c": 4}
    table.grid.nodes[2].status = "online"
    assert table.roster.present() == {"a": 2, "b": 3, "c": 4}
    assert len(table.grid.pushes) == 3


@pytest.mark.parametrize(
    ("impostor", "words"),
    [
        pytest.param(Node("c", [named("a")]), "another's name", id="another's name"),
        pytest.param(site("a"), "two nodes use one site's name", id="name twice"),
        pytest.param(
            Node("7", [named("a")]), "two nodes use one site's name", id="numbered node, name twice"
        ),
    ],
)
def test_an_impostor_is_refused_and_the_rest_go_on(
    clock: Clock, tmp_path: Path, impostor: Node, words: str
) -> None:
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b")}, waits=True)
    clock.after(10, lambda: table.grid.nodes.update({9: impostor}))
    table.roster.gather()
    assert table.agreed == ["a", "b"]
    assert table.roster.present() == {"a": 2, "b": 3}
    ((name, reason), *_) = table.watcher.of("refused")
    assert name == impostor.name and words in reason


def test_a_name_twice_from_the_start(clock: Clock, tmp_path: Path) -> None:
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b"), 4: site("a")}, waits=True)
    table.roster.gather()
    present = table.roster.present()
    assert sorted(present) == ["a", "b"]
    assert [name for name, _ in table.watcher.of("refused")][:1] == ["a"]
    assert table.roster.present() == present, "the one that was first stays"


def test_nodes_without_names_say_who_they_are(clock: Clock, tmp_path: Path) -> None:
    nodes = {2: Node("", [named("a")]), 3: Node("", [named("b")])}
    table = Table(clock, tmp_path, nodes, site_names=())
    table.roster.gather()
    assert table.agreed == ["a", "b"] and table.roster.present() == {"a": 2, "b": 3}


@pytest.mark.parametrize("first", [pytest.param(FAILED, id="data"), pytest.param(Say("{}"), id="malformed")])
def test_a_site_that_could_not_say_who_it_is_is_asked_again_later(
    clock: Clock, tmp_path: Path, first: Say
) -> None:
    table = Table(clock, tmp_path, {2: site("a", first), 3: site("b"), 4: site("c")}, waits=True)
    table.roster.gather()
    assert table.agreed == ["a", "b", "c"]
    first_time, again = (moment for moment, name in table.grid.pushes if name == "a")
    assert ASK_AGAIN_SECONDS <= again - first_time <= ASK_AGAIN_SECONDS + 2
    assert len(table.watcher.of("refused")) == 1


def test_a_site_that_fails_again_in_a_round_holds_nobody_up(clock: Clock, tmp_path: Path) -> None:
    nodes = {2: site("a"), 3: site("b"), 4: Node("c", [FAILED])}
    table = Table(clock, tmp_path, nodes, waits=True)
    table.roster.gather()
    asked_before, before = len(nodes[4].received), clock.now
    assert table.roster.present() == table.roster.present() == {"a": 2, "b": 3}
    assert len(nodes[4].received) <= asked_before + 1 and clock.now - before < 2


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param({}, id="nobody"),
        pytest.param({2: site("a")}, id="one"),
        pytest.param({2: site("a"), 3: site("b")}, id="enough"),
        pytest.param({2: site("a"), 3: site("b"), 4: Node("c", [LOST])}, id="one that is silent"),
    ],
)
def test_a_stop_ends_the_waiting(clock: Clock, tmp_path: Path, nodes: dict[int, Node]) -> None:
    table = Table(clock, tmp_path, nodes, waits=True)
    clock.after(20, lambda: setattr(table, "stop", True))
    with pytest.raises(Interrupted):
        table.roster.gather()
    assert 20 <= clock.now - 1000 <= 22 and table.agreed is None


@pytest.mark.parametrize(
    ("nodes", "seconds"),
    [
        pytest.param({}, JOIN_SECONDS, id="nobody"),
        pytest.param({2: site("a")}, JOIN_SECONDS, id="one"),
        pytest.param({2: site("a"), 3: Node("b", [FAILED]), 4: Node("c", [FAILED])}, 0.0, id="two that fail"),
    ],
)
def test_too_few_without_waiting(
    clock: Clock, tmp_path: Path, nodes: dict[int, Node], seconds: float
) -> None:
    table = Table(clock, tmp_path, nodes)
    with pytest.raises(FederationError, match="too few sites"):
        table.roster.gather()
    assert seconds <= clock.now - 1000 <= seconds + 2 and table.agreed is None


def test_a_silent_node_holds_up_the_start_once(clock: Clock, tmp_path: Path) -> None:
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b"), 4: Node("c", [LOST])}, waits=True)
    table.roster.gather()
    assert table.agreed == ["a", "b"]
    assert clock.now - 1000 <= roster.DESCRIBE_SECONDS + JOIN_SECONDS + 2
    before = clock.now
    assert table.roster.present() == {"a": 2, "b": 3} and clock.now == before


def test_a_node_that_went_before_it_answered_is_asked_when_it_is_back(clock: Clock, tmp_path: Path) -> None:
    node = site("c", LOST)
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b"), 4: node}, waits=True)
    clock.after(1, lambda: setattr(node, "status", "offline"))
    clock.after(asking.ABSENCE_SECONDS + 20, lambda: setattr(node, "status", "online"))
    table.roster.gather()
    assert table.agreed == ["a", "b", "c"]
    assert clock.now - 1000 <= asking.ABSENCE_SECONDS + 25


def test_a_site_with_a_new_key_takes_its_name_over(clock: Clock, tmp_path: Path) -> None:
    """`server renew --new-key`: the old node is unregistered, the new one has another number and the same name."""
    table = Table(clock, tmp_path, {2: site("a"), 3: site("b"), 4: site("c")}, waits=True)
    table.roster.gather()
    table.grid.nodes[9] = site("b")
    assert table.roster.present() == {"a": 2, "b": 3, "c": 4}  # while the first is there
    assert "two nodes use one site's name" in table.watcher.of("refused")[0][1]
    del table.grid.nodes[3]
    clock.now += ASK_AGAIN_SECONDS + 1
    assert table.roster.present() == {"a": 2, "b": 9, "c": 4}
