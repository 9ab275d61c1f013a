"""Tasks of Flower's Runtime API, taken and answered by a process of ours that stays.

Flower would start a fresh program for every message (`flwr-clientapp`, `flwr-serverapp`): it unpacks the submitted bundle and
imports code from it, receives its token as an argument that every user of the machine can read in `ps`, and
imports torch anew. Here one worker a role stays, takes the tasks itself, and runs the code that is installed.

flwr 1.41 exports none of this, so this is the one module that uses its private names for it (the in-process grid of the
simulation has its own). Both sides need it; nothing else of this package imports Flower beside `app.py`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message
from flwr.common.serde import context_from_proto, run_from_proto
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest, PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PullTaskInputResponse,
    SendTaskHeartbeatRequest,
)
from flwr.proto.task_pb2 import Task as TaskDescription
from flwr.serverapp import Grid
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import RetryInvoker, exponential
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from emr_fl_shared.app import ReplyTorn
from emr_fl_shared.loopback import HOST, Loopback

SERVER_TASK = "flwr-serverapp"
CLIENT_TASK = "flwr-clientapp"
POLL_SECONDS = 0.5
ANSWER_SECONDS = 60.0
OBJECT_SECONDS = 2.0
_DONE, _FAILED = "completed", "failed"


@dataclass(frozen=True)
class Endpoint:
    """A Runtime API on this machine: the SuperLink's or the SuperNode's."""

    port: int
    loopback: Loopback

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def authority(self) -> bytes:
        return self.loopback.authority.read_bytes()


class TaskLost(Exception):
    """Whoever handed the task out does not know it any more."""

    reply = False


class ReplyLost(TaskLost):
    """It happened while the reply was handed over: the SuperNode may hold a part of it and wait for the rest for ever."""

    reply = True


class TaskQueue:
    """Where tasks of one kind are taken from, one at a time."""

    def __init__(self, endpoint: Endpoint, kind: str) -> None:
        self._endpoint = endpoint
        self._kind = kind
        self._held: deque[Task] = deque()
        self._client = RuntimeHttpClient.from_server_address(
            endpoint.address,
            False,
            endpoint.authority,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(
                    master_secret=endpoint.loopback.secret.read_bytes(),
                    protected_methods={"/flwr.proto.Runtime/AcquireTask"},
                ),
            ],
        )

    def take(self) -> Task:
        """The next task, however long it takes. While the API does not answer, goes on asking."""
        while True:
            if self._held:
                return self._held.popleft()
            task = self.look()
            if task is not None:
                return task
            time.sleep(POLL_SECONDS)

    def look(self) -> Task | None:
        """A task if there is one now."""
        request = AcquireTaskRequest(supported_task_types=[self._kind], agentapp_fab_hashes=[])
        try:
            answer = self._client.AcquireTask(request)
        except httpx.HTTPError:
            return None
        if answer.HasField("task") and answer.token:
            return Task(self._endpoint, answer.token, answer.task)
        return None

    def hold(self, task: Task) -> None:
        """Keep a task that was taken too early: `take` gives it out first."""
        self._held.append(task)


@dataclass
class Task:
    """A task that was taken. Inside `with` it is kept alive by heartbeats; `lost` is set when Flower gave it up."""

    endpoint: Endpoint
    _token: str = field(repr=False)
    description: TaskDescription
    lost: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Task:
        self._client = self._connect(self._patience())
        # heartbeats on a connection of their own: they must not wait behind a transfer
        self._beat = self._connect(None)
        self._heart = HeartbeatSender(self._heartbeat)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._heart.is_running:
            self._heart.stop()
        self._client.close()
        self._beat.close()

    def _connect(self, retry: RetryInvoker | None) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            self.endpoint.address,
            False,
            self.endpoint.authority,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
                RuntimeTokenHttpInterceptor(self._token),
            ],
            retry_invoker=retry,
        )

    def _patience(self) -> RetryInvoker:
        """Try again while the API does not answer, for `ANSWER_SECONDS`, and not once the task is given up.

        Flower's own would go on for ever, and on a 401 — the node was started anew and does not know this task — send this process
        a SIGINT.
        """

        def hopeless(error: Exception) -> bool:
            answered = isinstance(error, httpx.HTTPStatusError)
            return self.lost.is_set() or (
                answered and error.response.status_code not in (502, 503, 504)  # type: ignore[attr-defined]
            )

        return RetryInvoker(
            lambda: exponential(max_delay=5),
            (httpx.TransportError, httpx.HTTPStatusError),
            max_tries=None,
            max_time=ANSWER_SECONDS,
            should_giveup=hopeless,
        )

    def _heartbeat(self) -> bool:
        if self.lost.is_set():
            return True
        try:
            alive = bool(self._beat.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
        except httpx.HTTPStatusError as error:
            if error.response.status_code >= 500:
                return False
            alive = False
        except httpx.HTTPError:
            return False
        if not alive:
            self.lost.set()
        return True

    def _input(self) -> PullTaskInputResponse:
        """What the task works on; from here on Flower's messages made in this process are this task's."""
        answer = self._client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id = answer.task_id
        TaskIdentity.run_id = answer.run.run_id
        TaskIdentity.node_id = answer.context.node_id
        return answer

    # --- a site's task ------------------------------------------------------------------------------------------------

    def receive(self, queue: TaskQueue) -> Received:
        """The message of a client task with what came along; waits until the SuperNode has all of it, however slow the line.

        Raises `TaskLost`: the SuperNode does not know the task any more, or has handed out a newer one. It fetches one
        message after the other, so a newer task means that the rest of this one's message never comes (its run was ended
        in the middle of the transfer).
        """
        done = threading.Event()
        watcher = threading.Thread(target=self._watch_for_newer, args=(queue, done), daemon=True)
        try:
            answer = self._input()
            context = context_from_proto(answer.context)
            found = self._client.PullMessages(PullAppMessagesRequest())
            if not found.messages_list:
                raise TaskLost("no message")
            watcher.start()
            message = self._pull_message(context, found.message_object_trees[0])
        except (TaskLost, httpx.HTTPError, RuntimeError, ObjectPullError) as error:
            if self.lost.is_set() or isinstance(error, TaskLost):
                self._give_up()
            raise TaskLost(type(error).__name__) from None
        finally:
            done.set()
        return Received(message, context, bytes(answer.fab.content))

    def _give_up(self) -> None:
        """Tell the SuperNode that nobody works on the task any more.

        Else it misses the task's heartbeats after a minute, answers the message itself, and takes that answer for the one to
        whatever message it fetched last: the real answer then waits for the next message, and so does every later one.
        """
        push_task_output(self._client, None, _FAILED, "")

    def _pull_message(self, context: Context, tree: ObjectTree) -> Message:
        node = Node(node_id=context.node_id)
        pull = make_pull_object_fn_protobuf(self._client.PullObject, node, context.run_id)

        def pull_or_give_up(object_id: str) -> bytes:
            if self.lost.is_set():
                raise TaskLost("superseded")
            return pull(object_id)

        message: Message = pull_and_inflate_object_from_tree(
            tree,
            pull_or_give_up,
            make_confirm_message_received_fn_protobuf(
                self._client.ConfirmMessageReceived, node, context.run_id
            ),
            return_type=Message,
            max_time=None,
            max_tries_per_object=None,
            backoff_cap=OBJECT_SECONDS,
        )
        # a message that was taken apart does not hold its own id
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def _watch_for_newer(self, queue: TaskQueue, done: threading.Event) -> None:
        while not done.wait(OBJECT_SECONDS):
            newer = queue.look()
            if newer is not None:
                queue.hold(newer)
                self.lost.set()
                return

    def answer(self, received: Received, reply: Message) -> None:
        """Hand the reply to the SuperNode, which keeps it until the server has it.

        Raises `ReplyLost` if the SuperNode was started anew or gave the task up: the server asks again.
        """
        try:
            push_message(self._client, reply, received.context)
        except (httpx.HTTPError, RuntimeError) as error:
            raise ReplyLost(type(error).__name__) from None
        push_task_output(self._client, received.context, _DONE, "")

    # --- the coordinator's task ----------------------------------------------------------------------------------------

    def grid(self) -> tuple[Grid, Context]:
        """The grid of a server task, connected to its run."""
        answer = self._input()
        grid = _PatientGrid(self.endpoint.address, False, self.endpoint.authority, token=self._token)
        grid.set_run(run_from_proto(answer.run))
        return grid, context_from_proto(answer.context)

    def finish(self, context: Context, *, failed: bool = False) -> None:
        """Report the end of a server task."""
        push_task_output(self._client, context, _FAILED if failed else _DONE, "")


class _PatientGrid(HttpGrid):
    """Flower's grid, which waits for the rest of a reply until somebody says that it never comes.

    Flower's own waits until the SuperLink gives the transfer up, minutes after the sender has died, and meanwhile hears no other site.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hopeless: Callable[[], bool] = lambda: False

    def give_up_when(self, hopeless: Callable[[], bool]) -> None:
        """What is asked before each part of the replies that are pulled from now on."""
        self._hopeless = hopeless

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As Flower's. Raises `ReplyTorn`."""
        pull = self._runtime_client.PullObject

        def pull_or_give_up(request: PullObjectRequest) -> PullObjectResponse:
            answer = pull(request)
            if not answer.object_available and self._hopeless():
                raise ReplyTorn
            return answer

        self._runtime_client.PullObject = pull_or_give_up  # type: ignore[method-assign]
        try:
            return super().pull_messages(message_ids)
        finally:
            self._runtime_client.PullObject = pull  # type: ignore[method-assign]


@dataclass(frozen=True)
class Received:
    """What a site's task brought: the message, Flower's context, and the bundle that the server submitted."""

    message: Message
    context: Context
    bundle: bytes = field(repr=False)


def deactivate_node(address: str, authority: bytes, node_key: Path, node: int) -> None:
    """Tell the SuperLink that this site's node is gone, so that its successor is taken in at once.

    Flower believes a node that was killed to be there for up to a minute, and refuses another one with its key meanwhile.
    A failure changes nothing: the successor then has to wait.
    """
    private = load_ssh_private_key(node_key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    with (
        contextlib.suppress(httpx.HTTPError, RuntimeError),
        FleetHttpClient.from_server_address(
            address,
            False,
            authority,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(private, private.public_key()),
            ],
        ) as client,
    ):
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
