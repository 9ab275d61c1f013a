"""The round loop: one cycle of global model → local training → aggregation → evaluation → checkpoint.

Our own loop over Flower's `Grid` (docs/adr/0002-round-loop.md): messages to all sites by name, replies pulled one at a
time, each checked alone and spooled to disk; when the round closes, checked against the others and folded in site-name
order, so that neither memory nor the result depends on how many sites there are or which one was faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flwr.app import Message
from flwr.serverapp import Grid

from emr_fl_server.federation import Federation, FederationState
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.errors import EmrFlError, FederationError, PolicyError, StorageError
from emr_fl_shared.messages import tr
from emr_fl_shared.wire import (
    DESCRIBE,
    EVALUATE,
    TRAIN,
    Body,
    BodyT,
    DescribeReply,
    DescribeRequest,
    EvaluateReply,
    Failure,
    SiteScores,
    TrainReply,
    pack,
    unpack_reply,
)

POLL_SECONDS = 0.2
JOIN_SECONDS = 60.0
NODE_UNAVAILABLE = 5
"""Flower's error code for a node that is gone."""


class Observer(Protocol):
    """Who watches a federation: the terminal, the log."""

    def joined(self, sites: list[str]) -> None: ...
    def resumed(self, round: int, passed_over: Sequence[str]) -> None: ...
    def round_started(self, number: int, rounds: int, sites: list[str]) -> None: ...
    def replied(self, site: str, reply: TrainReply) -> None: ...
    def refused(self, site: str, reason: str) -> None: ...
    def late(self, site: str) -> None: ...
    def aggregating(self, number: int) -> None: ...
    def round_ended(self, entry: dict[str, object]) -> None: ...


@dataclass(frozen=True)
class Answer:
    """A site's reply, still unread, or the reason why there is none."""

    site: str
    body: str = ""
    payload: bytes | None = None
    failure: str = ""

    def read(self, kind: type[BodyT]) -> BodyT:
        """The reply's body. Raises `PolicyError` if the site's policy refused, `FederationError` with the site's or our own reason if there
        is none."""
        if self.failure:
            raise FederationError(self.failure)
        body = unpack_reply(self.body, kind)
        if isinstance(body, Failure):
            kind_of_error = PolicyError if body.cause == "policy" else FederationError
            raise kind_of_error(body.reason)
        return body


def run_rounds(
    grid: Grid, federation: Federation, nodes: Mapping[str, int], observer: Observer
) -> FederationState:
    """Run all rounds that are left with the sites in `nodes` (name → node id).

    Raises `FederationError` when too few updates count, `PolicyError` where that is for the sites' policies.
    """
    state = federation.start()
    if state.round:
        observer.resumed(state.round, state.passed_over)
    while not state.finished(federation.rounds, federation.patience):
        number = state.round + 1
        observer.round_started(number, federation.rounds, sorted(nodes))
        # 1 · the global model to every site
        request = federation.train_request(number, state)
        model = federation.model_payload(state)
        answers = ask(grid, nodes, TRAIN, request, model, federation.deadline)
        # 2 · each reply as it comes: checked alone, spooled, dropped from memory
        began = time.monotonic()
        admission = federation.admission(number, state)
        for answer in answers:
            try:
                reply = answer.read(TrainReply)
                admission.admit(answer.site, number, reply, answer.payload)
            except StorageError:
                raise  # our own disk, no fault of the site
            except EmrFlError as error:
                admission.refuse(answer.site, number, error)
                observer.refused(answer.site, error.render())
            else:
                observer.replied(answer.site, reply)
        for site in admission.missing(nodes):
            observer.late(site)
        train_wall = time.monotonic() - began
        # 3 · checked against each other, averaged in site-name order
        observer.aggregating(number)
        began = time.monotonic()
        for site, reason in admission.compare(number, federation.max_norm_ratio).items():
            observer.refused(site, reason)
        if len(admission.accepted) < federation.min_sites:
            forbidden = len(admission.accepted) + len(admission.forbidden) >= federation.min_sites
            raise (PolicyError if forbidden else FederationError)(
                tr("too few updates for this round to count", "本轮有效更新过少"),
                where=f"round {number}",
                got=str(len(admission.accepted)),
                expected=f">= {federation.min_sites} (federation.min_sites)",
                do=tr(
                    "see audit/ in the run folder; continue with --resume",
                    "参见运行目录的 audit/；可用 --resume 继续",
                ),
            )
        tensors = admission.fold(state.tensors, federation.label_rows())
        aggregate = time.monotonic() - began
        # 4 · the new global model on the held-out sets, 5 · the checkpoint: from here on the round is done
        began = time.monotonic()
        scores = federation.evaluate(tensors, admission.accepted)
        timing = {
            "train_wall_s": train_wall,
            "aggregate_s": aggregate,
            "evaluate_s": time.monotonic() - began,
            "bytes_down": len(model) * len(nodes),
        }
        state = state.after(number, tensors, scores, admission, timing)
        federation.save(state)
        admission.discard()
        observer.round_ended(state.history[-1])
    return state


def evaluate_at_sites(
    grid: Grid, federation: Federation, nodes: Mapping[str, int], state: FederationState
) -> dict[str, SiteScores]:
    """The final model scored by each site on its own validation records, where the site's policy lets that out."""
    request = federation.evaluate_request(state)
    scores: dict[str, SiteScores] = {}
    for answer in ask(grid, nodes, EVALUATE, request, federation.model_payload(state), federation.deadline):
        try:
            reply = answer.read(EvaluateReply)
        except EmrFlError:
            continue  # a site that does not answer now has no score of the final model
        if reply.scores is not None:
            scores[answer.site] = reply.scores
    return scores


def find_sites(grid: Grid, federation: Federation, observer: Observer) -> dict[str, int]:
    """Who is here, by name; agrees the label set where it comes from the data.

    Raises `FederationError` if fewer than `min_sites` answer.
    """
    nodes = connected(grid, federation.expected_sites, JOIN_SECONDS)
    described: dict[str, DescribeReply] = {}
    named: dict[str, int] = {}
    request = DescribeRequest(run=federation.run, label_names=federation.labels_from_data)
    for answer in ask(grid, nodes, DESCRIBE, request, None, federation.deadline):
        try:
            reply = answer.read(DescribeReply)
        except EmrFlError as error:
            observer.refused(answer.site, error.render())
            continue
        if reply.site != answer.site and not answer.site.isdecimal():
            raise FederationError(
                tr("a node answers in another's name", "节点冒用其他机构名"), got=reply.site
            )
        if reply.site in described:
            raise FederationError(
                tr("two nodes use one site's name", "两个节点使用同一机构名"), got=reply.site
            )
        described[reply.site] = reply
        named[reply.site] = nodes[answer.site]
    if len(named) < federation.min_sites:
        raise FederationError(
            tr("too few sites to start", "可用的机构过少，无法开始"),
            got=str(len(named)),
            expected=f">= {federation.min_sites} (federation.min_sites)",
        )
    federation.agree(described)
    observer.joined(sorted(named))
    return named


def connected(grid: Grid, expected: int, patience: float) -> dict[str, int]:
    """The nodes that are there, by name (by number where a grid has no names): as soon as `expected` are, at the latest
    after `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        nodes = {str(node.name or node.node_id): node.node_id for node in grid.get_nodes()}
        if len(nodes) >= expected or time.monotonic() > until:
            return nodes
        time.sleep(POLL_SECONDS)


def ask(
    grid: Grid,
    nodes: Mapping[str, int],
    message_type: str,
    request: Body,
    payload: bytes | None,
    deadline: float,
) -> Iterator[Answer]:
    """Send `request` to all nodes, yield the replies one at a time as they come, until `deadline` seconds are over."""
    content = to_records(pack(request), payload)
    names = {node: name for name, node in nodes.items()}
    messages = [
        Message(content, node, message_type, group_id="", ttl=deadline + 60.0) for node in nodes.values()
    ]
    waiting = {identifier for identifier in grid.push_messages(messages) if identifier}
    del content, messages
    until = time.monotonic() + deadline
    pause: Callable[[float], None] = getattr(grid, "wait", time.sleep)
    while waiting and time.monotonic() < until:
        arrived = False
        for identifier in sorted(waiting):
            for message in grid.pull_messages([identifier]):
                waiting.discard(identifier)
                arrived = True
                yield _answer(message, names.get(message.metadata.src_node_id, "?"))
        if not arrived:
            pause(POLL_SECONDS)


def _answer(message: Message, site: str) -> Answer:
    if message.has_error():
        # Flower's own reason may hold a traceback of the other side: only its code is kept.
        code = message.error.code
        if code == NODE_UNAVAILABLE:
            return Answer(
                site, failure=tr("no answer: the site's process ended", "没有应答：该机构的进程已结束")
            )
        return Answer(site, failure=tr("no answer: Flower error ", "没有应答：Flower 错误 ") + str(code))
    try:
        body, payload = from_records(message.content)
    except FederationError as error:
        return Answer(site, failure=error.render())
    return Answer(site, body, payload)
