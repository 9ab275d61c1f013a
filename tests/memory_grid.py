"""A `Grid` without processes and a clock without waiting: what a node answers, and when, is written down beforehand."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flwr.app import Error, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from emr_fl_shared.app import from_records, to_records

LONGEST = 100_000.0


class Clock:
    """Stands in for the module `time`: `sleep` moves it on at once and does what was planned for meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._plans: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < LONGEST, "this would never end"
        due = [plan for plan in self._plans if plan[0] <= self.now]
        self._plans = [plan for plan in self._plans if plan[0] > self.now]
        for _, action in due:
            action()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self._plans.append((self.now + seconds, action))


@dataclass(frozen=True)
class Say:
    """A reply `after` so many seconds."""

    body: str
    payload: bytes | None = None
    after: float = 0.0


@dataclass(frozen=True)
class Fail:
    """Flower's own error reply."""

    code: int
    after: float = 0.0


@dataclass(frozen=True)
class Make:
    """What Flower makes of a reply when it is pulled: records, or what is not even a message, or an exception."""

    make: Callable[[], object]
    after: float = 0.0


LOST = None
"""The question reaches nobody, or nobody answers."""


@dataclass
class Node:
    """`replies`: to the first question, to the second …; the last one goes on for ever."""

    name: str
    replies: list[Say | Fail | Make | None]
    status: str = "online"
    received: list[tuple[str, bytes | None]] = field(default_factory=list)


class MemoryGrid(Grid):
    """Nodes by id; a reply can be pulled once, when its time has come."""

    def __init__(self, clock: Clock, nodes: dict[int, Node]) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.clock = clock
        self.nodes = nodes
        self.pushes: list[tuple[float, str]] = []
        self._replies: dict[str, tuple[float, Callable[[], Message]]] = {}

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [
            NodeInfo(node_id=number, name=node.name, status=node.status)
            for number, node in self.nodes.items()
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        identifier = uuid.uuid4().hex
        message.metadata.__dict__["_message_id"] = identifier
        node = self.nodes[message.metadata.dst_node_id]
        node.received.append(from_records(message.content))
        self.pushes.append((self.clock.now, node.name))
        reply = node.replies[min(len(node.received), len(node.replies)) - 1]
        if isinstance(reply, Say):
            content = to_records(reply.body, reply.payload)
            answer = Message(content, reply_to=message)
            self._replies[identifier] = (self.clock.now + reply.after, lambda: answer)
        elif isinstance(reply, Fail):
            error = Error(reply.code, "a traceback of the other side")
            failure = Message(error, reply_to=message)
            self._replies[identifier] = (self.clock.now + reply.after, lambda: failure)
        elif isinstance(reply, Make):
            self._replies[identifier] = (self.clock.now + reply.after, lambda: _made(reply.make(), message))
        return identifier

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [
            self._replies.pop(identifier)[1]()
            for identifier in message_ids
            if identifier in self._replies and self._replies[identifier][0] <= self.clock.now
        ]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        raise NotImplementedError


def _made(found: object, question: Message) -> Message:
    # Flower hands on whatever it put together as if it were a message
    return Message(found, reply_to=question) if isinstance(found, RecordDict) else found  # type: ignore[return-value]
