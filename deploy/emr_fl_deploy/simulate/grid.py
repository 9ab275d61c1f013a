"""An in-process Flower `Grid`: the same ServerApp and ClientApps, each site in a process of its own.

Messages are really serialised (Flower's protobuf) and cross a pipe; nothing in memory is shared between sites. At most
`parallel` sites compute at a time. The processes come from a fork server that has imported torch and transformers once,
so a site starts in a fraction of a second instead of 4–5 s and shares the libraries' pages with the others.

Flower's `Grid` interface needs three types that flwr 1.41 exports from no public module (`Run`, `NodeInfo`,
`message_to_proto`/`message_from_proto`); this is the only module that imports them.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver as forkserver
import multiprocessing.resource_tracker as resource_tracker
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from emr_fl_server.asking import NODE_UNAVAILABLE
from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.memory import release_free_memory

RUN_ID = 1
SERVER_NODE_ID = 1
FIRST_SITE_NODE_ID = 2

PRELOAD = ["emr_fl_deploy.simulate.preload"]
_REPLY, _PROGRESS = b"R", b"P"

AppFactory = Callable[[str, "Callable[[dict[str, Any]], None]"], ClientApp]
"""Makes a site's ClientApp in the site's own process: `(site name, progress) -> ClientApp`."""


@dataclass
class _Site:
    name: str
    node_id: int
    lock: threading.Lock
    process: ForkServerProcess | None = None
    connection: Connection | None = None
    wanted: str = ""
    """The message whose reply is still waited for."""

    def end(self) -> None:
        """Kill the process at once, even a stopped one."""
        process = self.process
        if process is not None and process.is_alive():
            process.kill()
            process.join(5)


class InProcessGrid(Grid):
    """A `Grid` whose nodes are processes on this machine, one per site, addressed by name.

    Parameters: `factories` site name → picklable factory (a module's function or `functools.partial` of one), called in
    the site's own process; `parallel` sites that compute at a time; `threads` of torch per site; `environment` set in the sites' processes;
    `on_progress(site, event)` is called from a thread for what a site's ClientApp reports while it works.
    """

    resends = False
    """A site whose process ended loses the round, and is started anew for the next one."""

    def __init__(
        self,
        factories: Mapping[str, AppFactory],
        *,
        parallel: int,
        threads: int = 1,
        environment: Mapping[str, str] | None = None,
        on_progress: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SERVER_NODE_ID, 1
        self._factories = dict(factories)
        self._threads = threads
        self._environment = dict(environment or {})
        self._on_progress = on_progress
        self._run = Run.create_empty(RUN_ID)
        self._sites = {
            FIRST_SITE_NODE_ID + index: _Site(name, FIRST_SITE_NODE_ID + index, threading.Lock())
            for index, name in enumerate(sorted(factories))
        }
        self._pool = ThreadPoolExecutor(max_workers=max(1, parallel), thread_name_prefix="site")
        self._replies: dict[str, bytes] = {}
        self._arrived = threading.Condition()
        self._closed = False
        self._context = fork_server()
        self.bytes_down = 0
        self.bytes_up = 0

    # --- Flower's interface -------------------------------------------------------------------------------------

    def set_run(self, run: Run) -> None:
        """Take over `run`'s description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The only run there is."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message, as Flower's own grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The sites' node ids."""
        return list(self._sites)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """The sites with their names."""
        return [
            NodeInfo(node_id=site.node_id, name=site.name, status="online") for site in self._sites.values()
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Serialise and queue; returns at once with the message ids.

        A site that still works on an earlier message is ended and starts anew: its reply would come too late, and it must not
        hold the place of the others.
        """
        identifiers = []
        for message in messages:
            identifier = uuid.uuid4().hex
            message.metadata.__dict__["_message_id"] = identifier
            site = self._sites[message.metadata.dst_node_id]
            raw = message_to_proto(message).SerializeToString()
            self.bytes_down += len(raw)
            identifiers.append(identifier)
            with self._arrived:
                late, site.wanted = site.wanted, identifier
                answered = self._replies.pop(late, None) is not None
            if late and not answered:
                site.end()
            self._pool.submit(self._deliver, site, identifier, raw)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there; each is handed out once."""
        replies = []
        for identifier in message_ids:
            with self._arrived:
                raw = self._replies.pop(identifier, None)
                if raw is not None:
                    for site in self._sites.values():
                        if site.wanted == identifier:
                            site.wanted = ""
            if raw is not None:
                replies.append(message_from_proto(ProtoMessage.FromString(raw)))
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push, then wait for all replies or `timeout` seconds."""
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []

        def something_came() -> bool:
            return any(identifier in self._replies for identifier in waiting)

        while waiting:
            with self._arrived:
                if not self._arrived.wait_for(something_came, timeout):
                    break
            for reply in self.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
        return replies

    # --- the sites' processes -----------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Sleep until a reply arrives, at most `seconds`."""
        with self._arrived:
            if not self._replies:
                self._arrived.wait(seconds)

    def site_processes(self) -> dict[str, int]:
        """Process ids of the sites that run, by name."""
        return {
            site.name: site.process.pid
            for site in self._sites.values()
            if site.process is not None and site.process.pid is not None and site.process.is_alive()
        }

    def close(self) -> None:
        """End all sites' processes; safe to call twice."""
        self._closed = True
        processes = [site.process for site in self._sites.values() if site.process is not None]
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(5)
            if process.is_alive():  # stopped, or deep in a computation
                process.kill()
                process.join(5)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for site in self._sites.values():
            site.end()
            if site.connection is not None:
                site.connection.close()
                site.connection = None

    def __enter__(self) -> InProcessGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self, site: _Site, identifier: str, raw: bytes) -> None:
        with site.lock:
            try:
                reply = self._exchange(site, raw) if site.wanted == identifier else b""
                self.bytes_up += len(reply)
            except Exception as error:  # whatever it is, whoever waits must hear of it
                site.end()
                site.process, site.connection = None, None
                request = message_from_proto(ProtoMessage.FromString(raw))
                gone = Error(
                    NODE_UNAVAILABLE, f"the process of site {site.name} ended ({type(error).__name__})"
                )
                reply = message_to_proto(Message(gone, reply_to=request)).SerializeToString()
        with self._arrived:
            if site.wanted == identifier:  # otherwise the round that asked is over
                self._replies[identifier] = reply
                self._arrived.notify_all()

    def _exchange(self, site: _Site, raw: bytes) -> bytes:
        if self._closed:
            raise EOFError
        if site.process is None or not site.process.is_alive():
            self._start(site)
        if self._closed:  # meanwhile
            raise EOFError
        assert site.connection is not None
        site.connection.send_bytes(raw)
        while True:
            answer = site.connection.recv_bytes()
            if answer[:1] == _REPLY:
                return answer[1:]
            if self._on_progress is not None:
                import json

                self._on_progress(site.name, json.loads(answer[1:]))

    def _start(self, site: _Site) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(
                there,
                site.name,
                site.node_id,
                self._factories[site.name],
                self._threads,
                self._environment,
            ),
            name=f"emr-fl-site-{site.name}",
            daemon=True,
        )
        process.start()
        there.close()
        site.process, site.connection = process, here


def fork_server() -> ForkServerContext:
    """The fork server, started. It and what it forks are deaf to Ctrl-C, which a terminal sends to all of them: it is for the
    coordinator, which then ends its sites."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    resource_tracker.ensure_running()  # on its start it unblocks the signal, so it must run before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _serve(
    connection: Connection,
    name: str,
    node_id: int,
    factory: AppFactory,
    threads: int,
    environment: Mapping[str, str],
) -> None:
    """A site's process: receive a message, run the ClientApp, send the reply; until the pipe closes."""
    import json

    end_with_parent()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(threads)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, node_id, 1

    def progress(event: dict[str, Any]) -> None:
        connection.send_bytes(_PROGRESS + json.dumps(event).encode())

    app = factory(name, progress)
    context = Context(RUN_ID, node_id, {"site": name}, RecordDict(), {})
    while True:
        try:
            raw = connection.recv_bytes()
        except EOFError:
            return
        message = message_from_proto(ProtoMessage.FromString(raw))
        try:
            reply = app(message, context)
        except EmrFlError as error:
            # The app answers every error itself; this one is that no answer may leave, as no receipt can be written.
            progress({"doing": "failed", "reason": error.render()})
            return
        try:
            connection.send_bytes(_REPLY + message_to_proto(reply).SerializeToString())
        except BrokenPipeError:
            return
        del message, reply, raw
        release_free_memory()


def end_with_parent() -> None:
    """End this process as soon as the one that asked for it is gone, however that happened."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
