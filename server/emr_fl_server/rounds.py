"""The round loop: one cycle of global model → local training → aggregation → evaluation → checkpoint.

Our own loop over Flower's `Grid` (docs/adr/0002-round-loop.md): messages to all sites by name, replies pulled one at a
time, each checked alone and spooled to disk; when the round closes, checked against the others and folded in site-name
order, so that neither memory nor the result depends on how many sites there are or which one was faster.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flwr.serverapp import Grid

from emr_fl_server.admission import Admission, RoundFailed, TooFewUpdates
from emr_fl_server.aggregation import advance_by
from emr_fl_server.asking import Asking, ask
from emr_fl_server.federation import Federation, FederationState, Tensors, evaluated
from emr_fl_server.masked_round import masked_means
from emr_fl_server.roster import Roster
from emr_fl_shared.errors import EmrFlError, PolicyError, StorageError
from emr_fl_shared.messages import tr
from emr_fl_shared.wire import EVALUATE, TRAIN, EvaluateReply, SiteScores, TrainReply


class Observer(Protocol):
    """Who watches a federation: the terminal, the log, `status`."""

    def missing(self, present: list[str], absent: list[str]) -> None: ...
    def joined(self, sites: list[str]) -> None: ...
    def resumed(self, round: int, passed_over: Sequence[str]) -> None: ...
    def round_started(self, number: int, rounds: int, sites: list[str]) -> None: ...
    def replied(self, site: str, reply: TrainReply) -> None: ...
    def refused(self, site: str, reason: str) -> None: ...
    def late(self, site: str) -> None: ...
    def aggregating(self, number: int) -> None: ...
    def round_ended(self, entry: dict[str, object]) -> None: ...
    def round_failed(self, number: int, reason: str, pause: float) -> None: ...


def run_rounds(roster: Roster, federation: Federation, observer: Observer) -> FederationState:
    """Run all rounds that are left, each with the sites that are there then, until they are done or a stop was asked for.

    A round with too few updates changes nothing; where sites can come back (`federation.waits`) it is asked for again after a
    growing pause, otherwise the error is raised: `PolicyError` where the sites' policies are the reason.
    """
    state = federation.start()
    if state.round:
        observer.resumed(state.round, state.passed_over)
    failures = 0
    while not state.finished(federation.rounds, federation.patience) and not federation.stop_requested():
        try:
            state = run_round(roster, federation, observer, state)
            failures = 0
        except RoundFailed as error:
            if not federation.waits:
                raise
            failures += 1
            pause = min(300.0, 5.0 * 2.0 ** min(failures - 1, 10))
            observer.round_failed(state.round + 1, error.render(), pause)
            federation.pause(pause)
    return state


@dataclass(frozen=True)
class _Stepped:
    """What a round's updates made of the model, and what it took."""

    tensors: Tensors
    kept: dict[str, Tensors]
    train_wall: float
    aggregate: float
    model_bytes: int


def run_round(
    roster: Roster, federation: Federation, observer: Observer, state: FederationState
) -> FederationState:
    """One round; returns the state after it, which is on disk by then. Raises `RoundFailed` (`TooFewUpdates`) or `PolicyError`."""
    number = state.round + 1
    nodes = roster.present()
    observer.round_started(number, federation.rounds, sorted(nodes))
    admission = federation.admission(number, state)
    # 1 · the global model to every site, 2 · the replies, 3 · the next global model
    step = _masked if federation.masked else _each
    stepped = step(roster, federation, observer, state, admission, nodes)
    kept = federation.averaged(number, state, stepped.tensors, stepped.kept)
    # 4 · the new global model on the held-out sets, 5 · the checkpoint: from here on the round is done
    began = time.monotonic()
    scores = federation.evaluate(evaluated(stepped.tensors, kept), admission.accepted)
    timing = {
        "train_wall_s": stepped.train_wall,
        "aggregate_s": stepped.aggregate,
        "evaluate_s": time.monotonic() - began,
        "bytes_down": stepped.model_bytes * len(nodes),
    }
    state = state.after(number, stepped.tensors, kept, scores, admission, timing)
    federation.save(state)
    admission.discard()
    observer.round_ended(state.history[-1])
    return state


def _each(
    roster: Roster,
    federation: Federation,
    observer: Observer,
    state: FederationState,
    admission: Admission,
    nodes: Mapping[str, int],
) -> _Stepped:
    """The updates one by one: each is seen, checked and spooled."""
    number = state.round + 1
    model_bytes = 0

    def model() -> bytes:
        nonlocal model_bytes
        payload = federation.round_payload(state)
        model_bytes = len(payload)
        return payload

    asking = Asking(TRAIN, federation.train_request(number, state), model, federation.deadline)

    def enough() -> bool:
        return federation.enough(len(admission.accepted))

    answers = ask(roster.grid, nodes, asking, federation.presence, enough)
    # each reply as it comes: checked alone, spooled, dropped from memory
    began = time.monotonic()
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
        admission.late(site, number)
        observer.late(site)
    train_wall = time.monotonic() - began
    # checked against each other, averaged in site-name order
    observer.aggregating(number)
    began = time.monotonic()
    for site, reason in admission.compare(number, federation.max_norm_ratio).items():
        observer.refused(site, reason)
    if len(admission.accepted) < federation.min_sites:
        forbidden = len(admission.accepted) + len(admission.forbidden) >= federation.min_sites
        raise (PolicyError if forbidden else TooFewUpdates)(
            tr("too few updates for this round to count", "本轮有效更新过少"),
            where=f"round {number}",
            got=str(len(admission.accepted)),
            expected=f">= {federation.min_sites} (federation.min_sites)",
            do=tr(
                "see audit/ in the run folder; continue with --resume",
                "参见运行目录的 audit/；可用 --resume 继续",
            ),
        )
    strategy = federation.strategy(len(admission.accepted))
    tensors, kept = admission.fold(strategy, state.tensors, state.kept, federation.label_rows())
    return _Stepped(tensors, kept, train_wall, time.monotonic() - began, model_bytes)


def _masked(
    roster: Roster,
    federation: Federation,
    observer: Observer,
    state: FederationState,
    admission: Admission,
    nodes: Mapping[str, int],
) -> _Stepped:
    """The updates as a masked sum: none of them is seen (docs/secure-aggregation.md)."""
    began = time.monotonic()
    means, model_bytes = masked_means(roster.grid, federation, observer, state, admission, nodes)
    train_wall = time.monotonic() - began
    began = time.monotonic()
    strategy = federation.strategy(len(admission.accepted))
    tensors, kept = advance_by(strategy, state.tensors, state.kept, means)
    return _Stepped(tensors, kept, train_wall, time.monotonic() - began, model_bytes)


def evaluate_at_sites(
    grid: Grid, federation: Federation, nodes: Mapping[str, int], state: FederationState
) -> dict[str, SiteScores]:
    """The final model scored by each site on its own validation records, where the site's policy lets that out."""
    request = federation.evaluate_request(state)
    asking = Asking(
        EVALUATE,
        request,
        lambda: federation.model_payload(state),
        federation.deadline,
        federation.stop_requested,
    )
    scores: dict[str, SiteScores] = {}
    for answer in ask(grid, nodes, asking, federation.presence, lambda: True):
        try:
            reply = answer.read(EvaluateReply)
        except EmrFlError:
            continue  # a site that does not answer now has no score of the final model
        if reply.scores is not None:
            scores[answer.site] = reply.scores
    return scores
