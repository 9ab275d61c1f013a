"""A site's task that is given up while its message comes in: Flower's own SuperNode API, in this process, over TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from flwr.app import Context, Message, RecordDict
from flwr.proto.task_pb2 import Task as TaskDescription
from flwr.supercore.corestate import in_memory_corestate
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeState, NodeStateFactory

from emr_fl_shared.app import to_records
from emr_fl_shared.loopback import Loopback, make_loopback
from emr_fl_shared.processes import free_port
from emr_fl_shared.tasks import CLIENT_TASK, Endpoint, TaskLost, TaskQueue

NODE = 7


@dataclass
class Node:
    """A SuperNode's state behind its Runtime API."""

    state: NodeState
    queue: TaskQueue

    def gets(self, run: int, *, whole: bool) -> int:
        """A message of a run comes in, with its objects or not yet; returns the task."""
        empty = Run.create_empty(run)
        empty.series_id, empty.fab_hash = run, self.state.store_fab(Fab("", b"bundle", {}))
        self.state.store_run(empty)
        self.state.set_run_series_context(run, Context(run, NODE, {}, RecordDict(), {}, run))
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, 1, 1
        message = Message(to_records("{}", b"payload"), NODE, "train.round")
        message.metadata.__dict__["_message_id"] = message.object_id
        self.state.store_message(message)
        missing = self.state.object_store.preregister(run, get_object_tree(message))
        assert missing
        if whole:
            for name, part in get_all_nested_objects(message).items():
                self.state.object_store.put(name, part.deflate())
        task = self.state.create_task(task_type=CLIENT_TASK, run_id=run, fab_hash=empty.fab_hash)
        assert task is not None
        return task

    def task(self, number: int) -> TaskDescription:
        return self.state.get_tasks(task_ids=[number])[0]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    factory = NodeStateFactory(ObjectStoreFactory())
    factory.state().set_node_id(NODE)
    loopback: Loopback = make_loopback(tmp_path)
    port = free_port()
    config = uvicorn.Config(
        create_app(factory, loopback.secret.read_bytes()),
        host="127.0.0.1",
        port=port,
        ssl_certfile=str(loopback.certificate),
        ssl_keyfile=str(loopback.key),
        log_level="critical",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield Node(factory.state(), TaskQueue(Endpoint(port, loopback), CLIENT_TASK))
    finally:
        server.should_exit = True
        thread.join(15)


def test_a_message_that_is_given_up_is_never_answered_by_flower(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was ended in the middle of a transfer, and the next run's message came whole."""
    torn = node.gets(1, whole=False)
    with node.queue.take() as task:
        whole: list[int] = []
        threading.Timer(0.5, lambda: whole.append(node.gets(2, whole=True))).start()
        with pytest.raises(TaskLost):
            task.receive(node.queue)
    assert node.task(torn).status.status == "finished"
    with node.queue.take() as task:
        received = task.receive(node.queue)
        assert received.message.metadata.run_id == 2
        assert task.description.task_id == whole[0]
        task.answer(received, Message(to_records("{}", b"reply"), reply_to=received.message))
    (reply,) = node.state.get_messages_legacy(is_reply=True)
    assert reply.metadata.reply_to_message_id == received.message.metadata.message_id
    assert not reply.has_error()
    # a minute of missing heartbeats later
    late = in_memory_corestate.now
    monkeypatch.setattr(in_memory_corestate, "now", lambda: late() + timedelta(hours=1))
    assert node.state.get_messages_legacy(is_reply=True) == []


def test_without_giving_up_flower_answers_late(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rule is for: the control of the test above."""
    monkeypatch.setattr("emr_fl_shared.tasks.Task._give_up", lambda self: None)
    node.gets(1, whole=False)
    with node.queue.take() as task:
        threading.Timer(0.5, lambda: node.gets(2, whole=True)).start()
        with pytest.raises(TaskLost):
            task.receive(node.queue)
    late = in_memory_corestate.now
    monkeypatch.setattr(in_memory_corestate, "now", lambda: late() + timedelta(hours=1))
    (stray,) = node.state.get_messages_legacy(is_reply=True)
    assert stray.has_error() and stray.metadata.run_id == 1
