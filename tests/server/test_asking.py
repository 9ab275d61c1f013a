"""One question to all sites: what is lost, refused, gone or late, and when to stop waiting."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from emr_fl_server import asking
from emr_fl_server.asking import ABSENCE_SECONDS, LOOK_SECONDS, MOST_ERRORS, AlwaysThere, Answer, Asking, ask
from emr_fl_shared.app import ReplyTorn
from emr_fl_shared.errors import FederationError, PolicyError
from emr_fl_shared.wire import DESCRIBE, DescribeReply, DescribeRequest, Failure, pack
from memory_grid import LOST, Clock, Fail, Make, MemoryGrid, Node, Say

DEADLINE = 1000.0
SOON = 2 * LOOK_SECONDS + 1
"""Within this a look at the nodes has had consequences."""
GONE = asking.NODE_UNAVAILABLE


class Incarnations:
    """A presence that a test changes."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.gone: set[int] = set()

    def incarnation(self, site: str) -> str:
        return self.now.get(site, "1")

    def struck_off(self, node: int) -> bool:
        return node in self.gone

    def seen_within(self, site: str, seconds: float) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asking, "time", clock)
    return clock


@pytest.fixture
def presence() -> Incarnations:
    return Incarnations()


def question(payload: Callable[[], bytes] | None = None, deadline: float = DEADLINE) -> Asking:
    return Asking(DESCRIBE, DescribeRequest(run="r"), payload, deadline)


def asked(
    grid: MemoryGrid,
    presence: asking.Presence,
    *,
    need: int = 1,
    payload: Callable[[], bytes] | None = None,
) -> list[Answer]:
    nodes = {node.name: number for number, node in grid.nodes.items()}
    answers: list[Answer] = []

    def enough() -> bool:
        return sum(not answer.failure for answer in answers) >= need

    for answer in ask(grid, nodes, question(payload), presence, enough):
        answers.append(answer)
    return answers


def test_each_site_answers_once_in_order_of_arrival(clock: Clock, presence: Incarnations) -> None:
    grid = MemoryGrid(
        clock,
        {
            2: Node("a", [Say("A", b"1", after=5)]),
            3: Node("b", [Say("B", after=1)]),
            4: Node("c", [Say("C")]),
        },
    )
    answers = asked(grid, presence, need=3)
    assert [(answer.site, answer.body, answer.payload) for answer in answers] == [
        ("c", "C", None),
        ("b", "B", None),
        ("a", "A", b"1"),
    ]
    assert len(grid.pushes) == 3 and clock.now - 1000 < 6


def test_a_lost_question_is_asked_once_more(clock: Clock, presence: Incarnations) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [LOST, Say("A", after=30)])})
    clock.after(10, lambda: presence.now.update(a="2"))
    (answer,) = asked(grid, presence)
    assert answer.body == "A"
    first, second = (moment for moment, _ in grid.pushes)
    assert 10 <= second - first <= 10 + SOON


def test_a_site_that_shows_signs_of_life_is_waited_for_not_asked_again(
    clock: Clock, presence: Incarnations
) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [Say("A", after=900)]), 3: Node("b", [Say("B")])})
    assert {answer.site for answer in asked(grid, presence)} == {"a", "b"}
    assert len(grid.pushes) == 2


def test_a_late_reply_to_the_first_copy_is_not_a_second_answer(clock: Clock, presence: Incarnations) -> None:
    node = Node("a", [Say("old", after=20), Say("new", after=60)])
    grid = MemoryGrid(clock, {2: node, 3: Node("b", [Say("B", after=200)])})
    clock.after(5, lambda: presence.now.update(a="2"))
    answers = asked(grid, presence, need=2)
    assert [(answer.site, answer.body) for answer in answers] == [("a", "new"), ("b", "B")]
    assert len(node.received) == 2


def test_the_payload_is_made_anew_for_a_second_copy(clock: Clock, presence: Incarnations) -> None:
    made = 0

    def payload() -> bytes:
        nonlocal made
        made += 1
        return b"model %d" % made

    node = Node("a", [LOST, Say("A")])
    grid = MemoryGrid(clock, {2: node, 3: Node("b", [Say("B")])})
    clock.after(5, lambda: presence.now.update(a="2"))
    asked(grid, presence, need=2, payload=payload)
    assert [content for _, content in node.received] == [b"model 1", b"model 2"]
    assert made == 2, "one for all sites, one for the second copy"


def test_a_payload_is_not_made_without_need(clock: Clock, presence: Incarnations) -> None:
    node = Node("a", [Say("A")])
    asked(MemoryGrid(clock, {2: node}), presence)
    assert [content for _, content in node.received] == [None]


def test_an_error_is_asked_again_and_answered(clock: Clock, presence: Incarnations) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [Fail(GONE), Fail(GONE, after=3), Say("A")])})
    (answer,) = asked(grid, presence)
    assert (answer.body, answer.failure, len(grid.pushes)) == ("A", "", 3)


@pytest.mark.parametrize(
    ("code", "words"),
    [pytest.param(GONE, "process ended", id="gone"), pytest.param(3, "error 3", id="other")],
)
def test_an_error_every_time_ends_with_a_reason(
    clock: Clock, presence: Incarnations, code: int, words: str
) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [Fail(code)]), 3: Node("b", [Say("B")])})
    first, second = asked(grid, presence, need=2)
    assert (first.site, second.site) == ("b", "a")
    assert words in second.failure and "traceback" not in second.failure
    assert len(grid.nodes[2].received) == 1 + MOST_ERRORS
    with pytest.raises(FederationError, match=words):
        second.read(DescribeReply)


def test_a_grid_whose_sites_cannot_come_back_is_asked_once(clock: Clock) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [Fail(GONE)]), 3: Node("b", [Say("B", after=9)])})
    grid.resends = False  # type: ignore[attr-defined]
    first, second = asked(grid, AlwaysThere(), need=2)
    assert (first.site, second.site) == ("a", "b") and first.failure
    assert len(grid.pushes) == 2 and clock.now - 1000 < 10


def test_a_site_that_failed_is_not_one_of_enough(clock: Clock, presence: Incarnations) -> None:
    late = Node("c", [LOST, Say("C")], status="offline")
    grid = MemoryGrid(clock, {2: Node("a", [Fail(GONE)]), 3: Node("b", [Say("B")]), 4: late})

    def back() -> None:
        late.status = "online"
        presence.now["c"] = "2"

    clock.after(5 * ABSENCE_SECONDS, back)
    answers = asked(grid, presence, need=2)
    assert [answer.site for answer in answers] == ["b", "a", "c"] and answers[1].failure


def test_a_site_that_is_gone_is_asked_again_when_it_is_back(clock: Clock, presence: Incarnations) -> None:
    node = Node("a", [Fail(GONE, after=2), Say("A")])
    grid = MemoryGrid(clock, {2: node, 3: Node("b", [Say("B")])})
    clock.after(1, lambda: setattr(node, "status", "offline"))
    clock.after(60, lambda: setattr(node, "status", "online"))
    answers = asked(grid, presence)
    assert [answer.body for answer in answers] == ["B", "A"]
    back = grid.pushes[-1][0] - 1000
    assert 60 <= back <= 60 + SOON, "not while it is gone"


def test_a_short_absence_starts_the_patience_anew(clock: Clock, presence: Incarnations) -> None:
    node = Node("a", [Say("A", after=2.5 * ABSENCE_SECONDS)])
    grid = MemoryGrid(clock, {2: node, 3: Node("b", [Say("B")])})
    for cycle in range(3):
        clock.after(1 + cycle * 80, lambda: setattr(node, "status", "offline"))
        clock.after(70 + cycle * 80, lambda: setattr(node, "status", "online"))
    assert {answer.site for answer in asked(grid, presence)} == {"a", "b"}


def test_gone_sites_are_given_up_once_enough_is_there(clock: Clock, presence: Incarnations) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [LOST], status="offline"), 3: Node("b", [Say("B")])})
    assert [answer.site for answer in asked(grid, presence)] == ["b"]
    assert ABSENCE_SECONDS <= clock.now - 1000 <= ABSENCE_SECONDS + 2 * SOON


def test_gone_sites_are_waited_for_while_they_are_needed(clock: Clock, presence: Incarnations) -> None:
    node = Node("a", [LOST, Say("A")], status="offline")
    grid = MemoryGrid(clock, {2: node, 3: Node("b", [Say("B")])})

    def back() -> None:
        node.status = "online"
        presence.now["a"] = "2"

    clock.after(5 * ABSENCE_SECONDS, back)
    assert {answer.site for answer in asked(grid, presence, need=2)} == {"a", "b"}


def test_one_site_at_work_keeps_the_question_open_for_those_that_are_gone(
    clock: Clock, presence: Incarnations
) -> None:
    grid = MemoryGrid(
        clock,
        {
            2: Node("a", [LOST], status="offline"),
            3: Node("b", [Say("B")]),
            4: Node("c", [Say("C", after=4 * ABSENCE_SECONDS)]),
        },
    )
    assert [answer.site for answer in asked(grid, presence)] == ["b", "c"]


@pytest.mark.parametrize(
    ("node", "failure"),
    [
        pytest.param(Node("a", [LOST]), "", id="silent"),
        pytest.param(Node("a", [LOST], status="offline"), "", id="gone"),
        pytest.param(Node("a", [Fail(GONE)], status="offline"), "process ended", id="error"),
    ],
)
def test_the_deadline_ends_it(clock: Clock, presence: Incarnations, node: Node, failure: str) -> None:
    grid = MemoryGrid(clock, {2: node, 3: Node("b", [Say("B")])})
    answers = asked(grid, presence, need=2)
    assert DEADLINE <= clock.now - 1000 <= DEADLINE + 1
    assert [answer.site for answer in answers] == (["b", "a"] if failure else ["b"])
    assert failure in answers[-1].failure


def test_nobody_to_ask(clock: Clock, presence: Incarnations) -> None:
    assert asked(MemoryGrid(clock, {}), presence) == []
    assert clock.now == 1000


@pytest.mark.parametrize(
    ("cause", "kind"),
    [pytest.param("policy", PolicyError, id="policy"), pytest.param("data", FederationError, id="data")],
)
def test_what_a_site_refused(
    clock: Clock, presence: Incarnations, cause: str, kind: type[FederationError]
) -> None:
    body = pack(Failure.model_validate({"site": "a", "cause": cause, "reason": "not here"}))
    (answer,) = asked(MemoryGrid(clock, {2: Node("a", [Say(body)])}), presence)
    with pytest.raises(kind, match="not here"):
        answer.read(DescribeReply)


def test_a_reply_that_is_none(clock: Clock, presence: Incarnations) -> None:
    (answer,) = asked(MemoryGrid(clock, {2: Node("a", [Say("{}")])}), presence)
    with pytest.raises(FederationError, match="malformed"):
        answer.read(DescribeReply)


def test_a_stop_ends_the_waiting(clock: Clock, presence: Incarnations) -> None:
    grid = MemoryGrid(clock, {2: Node("a", [LOST])})
    stopped = lambda: clock.now >= 1020  # noqa: E731
    asking_once = Asking(DESCRIBE, DescribeRequest(run="r"), None, DEADLINE, stopped)
    assert list(ask(grid, {"a": 2}, asking_once, presence, lambda: False)) == []
    assert 20 <= clock.now - 1000 <= 22


# --- replies made with ill will: real records, and Flower's own functions on them


def array(data: bytes, stype: str = "numpy.ndarray") -> Callable[[], RecordDict]:
    """A payload whose bytes are no array of numbers."""
    record = ArrayRecord({"bytes": Array(dtype="uint8", shape=(3,), stype=stype, data=data)})
    return lambda: RecordDict({"body": ConfigRecord({"json": "{}"}), "payload": record})


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def exabyte() -> bytes:
    """A header that promises 2^60 numbers."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1152921504606846976,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def not_a_message() -> object:
    """The root of the object tree is an array."""
    root = Array(np.zeros(3, dtype=np.uint8))
    contents = {name: value.deflate() for name, value in get_all_nested_objects(root).items()}
    found = inflate_object_from_contents(root.object_id, contents)
    assert not isinstance(found, Message)
    return found


def unknown_class() -> object:
    return inflate_object_from_contents("x", {"x": b"Evil  3\x00abc"})


def torn_message() -> object:
    """Records without the parts that their head names."""
    reply = RecordDict({"body": ConfigRecord({"json": "{}"})})
    contents = {name: value.deflate() for name, value in get_all_nested_objects(reply).items()}
    return inflate_object_from_contents(reply.object_id, {reply.object_id: contents[reply.object_id]})


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(array(b"rubbish"), id="rubbish in place of an array"),
        pytest.param(array(b""), id="nothing in place of an array"),
        pytest.param(array(archive()), id="an archive in place of an array"),
        pytest.param(array(exabyte()), id="an exabyte promised"),
        pytest.param(array(b"x", "pickle"), id="another kind of serialisation"),
        pytest.param(lambda: RecordDict({}), id="no records"),
        pytest.param(lambda: RecordDict({"body": ConfigRecord({"json": 3})}), id="a body that is no text"),
        pytest.param(lambda: RecordDict({"body": ConfigRecord({"json": "[" * 5000})}), id="a deep body"),
        pytest.param(lambda: RecordDict({"body": ArrayRecord({})}), id="a body that is an array"),
        pytest.param(not_a_message, id="an array in place of a message"),
        pytest.param(unknown_class, id="an object of no class"),
        pytest.param(torn_message, id="records without their parts"),
    ],
)
def test_no_reply_harms_the_others(clock: Clock, presence: Incarnations, make: Callable[[], object]) -> None:
    honest = Say(pack(DescribeReply(site="b", emr_fl="0", python="3", torch="2")), after=30)
    grid = MemoryGrid(clock, {2: Node("a", [Make(make)]), 3: Node("b", [honest])})
    answers = {answer.site: answer for answer in asked(grid, presence)}
    assert answers["b"].read(DescribeReply).site == "b"
    with pytest.raises(FederationError) as caught:
        answers["a"].read(DescribeReply)
    assert len(str(caught.value)) < 500 and len(grid.nodes[2].received) == 1


def test_a_fault_of_our_own_is_no_fault_of_a_site(clock: Clock, presence: Incarnations) -> None:
    def full() -> object:
        raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        asked(MemoryGrid(clock, {2: Node("a", [Make(full)])}), presence)


def test_a_site_that_was_struck_off_is_not_waited_for(clock: Clock, presence: Incarnations) -> None:
    grid = MemoryGrid(clock, {1: Node("a", [Say("A")]), 2: Node("b", [LOST])})
    presence.gone.add(2)
    began = clock.now
    first, second = asked(grid, presence, need=2)
    assert (first.site, first.failure) == ("a", "")
    assert (second.site, second.failure) == ("b", "no longer registered")
    assert clock.now - began < SOON


def test_a_reply_that_broke_off_is_asked_for_again(clock: Clock, presence: Incarnations) -> None:
    def torn() -> object:
        raise ReplyTorn

    grid = MemoryGrid(clock, {2: Node("a", [Make(torn), Say("A", after=3)])})
    (answer,) = asked(grid, presence)
    assert (answer.body, answer.failure, len(grid.nodes[2].received)) == ("A", "", 2)


def test_what_is_waited_for_is_given_up_when_its_sender_was_replaced(
    clock: Clock, presence: Incarnations
) -> None:
    rules: list[Callable[[], bool]] = []

    class Waiting(MemoryGrid):
        def give_up_when(self, hopeless: Callable[[], bool]) -> None:
            rules.append(hopeless)

    asked(Waiting(clock, {2: Node("a", [Say("A", after=3)])}), presence)
    assert not rules[-1]()
    presence.now["a"] = "2"
    assert rules[-1]()
    presence.now.clear()
    clock.now += DEADLINE
    assert rules[-1]()
