"""Ask all sites one thing and hand on their replies as they come; what a fault swallowed is asked for again.

One deadline for the question, and patience by signs of life instead of more time-outs:

* A site whose node started anew since it was asked has lost the question (Flower keeps it in the node's memory): it is
  asked again. A site keeps its finished update on disk, so that asking again repeats the transfer, not the training.
* A site that Flower reports as gone is asked again when it is back.
* A site that was struck off the register (revoked, or its key replaced) is not waited for.
* A site whose reply can't even be read has answered, badly: nothing that a site sends ends the question for the others.
* Once what is there is enough, sites that are gone are waited for `ABSENCE_SECONDS` more; sites that show signs of
  life, until the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from flwr.app import Message
from flwr.serverapp import Grid
from google.protobuf.message import DecodeError

from emr_fl_shared.app import ReplyTorn, from_records, to_records
from emr_fl_shared.errors import BudgetSpent, FederationError, PolicyError
from emr_fl_shared.messages import tr
from emr_fl_shared.wire import Body, BodyT, Failure, pack, unpack_reply

POLL_SECONDS = 0.2
REMOTE_POLL_SECONDS = 1.0
"""Between two looks at a grid that can't say by itself that something arrived: each look is a request a site."""
LOOK_SECONDS = 2.0
ABSENCE_SECONDS = 90.0
"""Flower takes up to 60 s to notice that a node is gone, and a node that was killed may come back only after that."""
NODE_UNAVAILABLE = 5
"""Flower's error code for a node that is gone."""
MOST_ERRORS = 5
"""A site that dies over the question every time is not asked for ever."""
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    DecodeError,
)
"""What Flower raises when it puts together a reply that a site made with ill will."""


def _never() -> bool:
    return False


class Presence(Protocol):
    """What is known of the sites' connections beside Flower."""

    def incarnation(self, site: str) -> str:
        """Changes whenever the site's node was started anew."""
        ...

    def struck_off(self, node: int) -> bool:
        """Whether a node is no longer registered: it will never answer."""
        ...

    def seen_within(self, site: str, seconds: float) -> bool:
        """Whether the site gave a sign of life in the last `seconds`, though its node may be away now."""
        ...


class AlwaysThere:
    """Presence of sites whose processes can't be replaced (the in-process grid)."""

    def incarnation(self, site: str) -> str:
        return ""

    def struck_off(self, node: int) -> bool:
        return False

    def seen_within(self, site: str, seconds: float) -> bool:
        return False


@dataclass(frozen=True)
class Asking:
    """A question: `payload` is made when it is needed, as keeping it would cost the server a model's memory.

    `stopped` ends the waiting before the deadline.
    """

    message_type: str
    request: Body
    payload: Callable[[], bytes] | None
    deadline: float
    stopped: Callable[[], bool] = _never


class RefusedForNow(FederationError):
    """A site's policy refused, and will not at another hour."""


@dataclass(frozen=True)
class Answer:
    """A site's reply, still unread, or the reason why there is none."""

    site: str
    body: str = ""
    payload: bytes | None = field(default=None, repr=False)
    failure: str = ""

    def read(self, kind: type[BodyT]) -> BodyT:
        """The reply's body. Raises `PolicyError` if the site's policy refused (`RefusedForNow` where it may not at another hour,
        `BudgetSpent` for its privacy budget), `FederationError` with the site's or our own reason if there is none."""
        if self.failure:
            raise FederationError(self.failure)
        body = unpack_reply(self.body, kind)
        if isinstance(body, Failure):
            kinds = {"policy": PolicyError, "later": RefusedForNow, "budget": BudgetSpent}
            raise kinds.get(body.cause, FederationError)(body.reason)
        return body


@dataclass
class _Pending:
    """A site that has not answered: the message it was sent, in which incarnation, and since when it is gone."""

    node: int
    message: str | None = None
    incarnation: str = ""
    errors: int = 0
    gone_since: float | None = None
    failure: str = ""


def ask(
    grid: Grid,
    nodes: Mapping[str, int],
    asking: Asking,
    presence: Presence,
    enough: Callable[[], bool],
) -> Iterator[Answer]:
    """Send the question to all `nodes` (name → node id) and yield each site's answer once, in order of arrival.

    `enough()` says whether what was yielded so far suffices to stop waiting for sites that are gone: only who reads the answers
    knows which of them count (a refusal by a site's policy and an update that is not admitted do not). Sites that never
    answered are not yielded, unless Flower gave a reason.
    """
    pending = {site: _Pending(node) for site, node in nodes.items()}
    until = time.monotonic() + asking.deadline
    _send(grid, asking, pending, presence)
    resends = getattr(grid, "resends", True)
    wait: Callable[[float], None] | None = getattr(grid, "wait", None)
    looked = time.monotonic()
    while pending and time.monotonic() < until and not asking.stopped():
        arrived = False
        for site in sorted(pending):
            wanted = pending[site]
            if wanted.message is None:
                continue
            if resends:
                _give_up_when(grid, partial(_torn, wanted, site, presence, until))
            for lost, answer in _pull(grid, wanted.message, site):
                arrived = True
                if lost and resends and wanted.errors < MOST_ERRORS:
                    wanted.errors += 1
                    wanted.message, wanted.failure = None, answer.failure
                    wanted.gone_since = wanted.gone_since or time.monotonic()
                    break
                del pending[site]
                yield answer
                del answer
                break
            del wanted
        if resends and pending and time.monotonic() - looked > LOOK_SECONDS:
            looked = time.monotonic()
            _look(grid, pending, presence)
            for site in [site for site, wanted in pending.items() if presence.struck_off(wanted.node)]:
                del pending[site]
                yield Answer(site, failure=tr("no longer registered", "已取消登记"))
            again = {
                site: wanted
                for site, wanted in pending.items()
                if wanted.message is None and wanted.gone_since is None
            }
            if again:
                _send(grid, asking, again, presence)
            if enough() and all(_given_up(wanted) for wanted in pending.values()):
                break
        if arrived:
            continue
        if wait is not None:
            wait(POLL_SECONDS)
        else:
            time.sleep(REMOTE_POLL_SECONDS)
    for site in sorted(pending):
        if pending[site].failure:
            yield Answer(site, failure=pending[site].failure)


def _give_up_when(grid: Grid, hopeless: Callable[[], bool]) -> None:
    """Tell a grid that waits for the rest of a reply when to stop waiting."""
    set_rule = getattr(grid, "give_up_when", None)
    if set_rule is not None:
        set_rule(hopeless)


def _torn(wanted: _Pending, site: str, presence: Presence, until: float) -> bool:
    """The node that was sending the reply has been replaced, or the time is over: the rest of it never comes."""
    return time.monotonic() > until or presence.incarnation(site) != wanted.incarnation


def _pull(grid: Grid, message: str, site: str) -> list[tuple[bool, Answer]]:
    """The reply if it is there: whether Flower lost the message or the site, and the answer."""
    try:
        return [(reply.has_error(), _answer(reply, site)) for reply in grid.pull_messages([message])]
    except ReplyTorn:
        return [(True, Answer(site, failure=tr("the reply broke off", "应答中断")))]
    except _UNREADABLE:
        return [(False, Answer(site, failure=tr("a reply that can't be read", "应答无法读取")))]


def _send(grid: Grid, asking: Asking, pending: Mapping[str, _Pending], presence: Presence) -> None:
    """Push the question to all of `pending`; the payload is in memory only while it is pushed."""
    payload = asking.payload() if asking.payload is not None else None
    content = to_records(pack(asking.request), payload)
    sites = sorted(pending)
    messages = [
        Message(content, pending[site].node, asking.message_type, group_id="", ttl=asking.deadline + 3600.0)
        for site in sites
    ]
    for site in sites:
        pending[site].incarnation = presence.incarnation(site)
    for site, identifier in zip(sites, grid.push_messages(messages), strict=False):
        pending[site].message = identifier or None


def _look(grid: Grid, pending: Mapping[str, _Pending], presence: Presence) -> None:
    """Notice who is gone, who is back, and whose node was started anew."""
    status = {node.node_id: node.status for node in grid.get_nodes()}
    now = time.monotonic()
    for site, wanted in pending.items():
        if status.get(wanted.node) == "online":
            wanted.gone_since = None
            if presence.incarnation(site) != wanted.incarnation:
                wanted.message = None
        elif wanted.gone_since is None:
            wanted.gone_since = now


def _given_up(wanted: _Pending) -> bool:
    return wanted.gone_since is not None and time.monotonic() - wanted.gone_since > ABSENCE_SECONDS


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
