"""Which sites are there: waited for before the first round, looked at again before every other one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flwr.serverapp import Grid

from emr_fl_server.asking import ABSENCE_SECONDS, Answer, Asking, ask
from emr_fl_server.federation import Federation
from emr_fl_shared.errors import EmrFlError, FederationError, Interrupted
from emr_fl_shared.messages import tr
from emr_fl_shared.wire import DESCRIBE, DescribeReply, DescribeRequest

if TYPE_CHECKING:
    from emr_fl_server.rounds import Observer

POLL_SECONDS = 0.2
JOIN_SECONDS = 60.0
"""How long a federation that could begin waits for the sites that are still missing."""
DESCRIBE_SECONDS = 600.0
NEWCOMER_SECONDS = 60.0
"""How long a round that could begin waits for newcomers to say who they are."""
ASK_AGAIN_SECONDS = 30.0
"""A site that could not say who it is (its export is missing, its policy refuses) is asked again after this."""
SILENT_SECONDS = 120.0
"""The same for a site that is online and said nothing until the deadline: longer than `JOIN_SECONDS`, so that it holds up the
start of a federation once."""


class Roster:
    """The sites of a federation by name. A node counts once it has said who it is (`DescribeReply`)."""

    def __init__(self, grid: Grid, federation: Federation, observer: Observer) -> None:
        self.grid = grid
        self._federation = federation
        self._observer = observer
        self._names: dict[int, str] = {}
        self._failed: dict[int, float] = {}
        self._reasons: dict[str, str] = {}

    def gather(self) -> None:
        """Wait for the sites, then agree the label set.

        With `federation.waits`: for as long as it takes until `min_sites` are there (or a stop is asked for), then
        `JOIN_SECONDS` more for the rest. Otherwise at most `JOIN_SECONDS`, then `FederationError` for too few sites.
        """
        federation = self._federation
        described: dict[str, DescribeReply] = {}
        told: list[str] | None = None
        began = time.monotonic()
        enough_since: float | None = None
        while True:
            described |= self._describe(self._new(self._online()))
            now = time.monotonic()
            if len(described) >= federation.expected_sites:
                break
            if len(described) >= federation.min_sites:
                enough_since = enough_since or now
                if now - (enough_since if federation.waits else began) > JOIN_SECONDS:
                    break
            elif not federation.waits and now - began > JOIN_SECONDS:
                break
            if federation.stop_requested():
                raise Interrupted(tr("stopped before the first round", "在第一轮之前停止"))
            if sorted(described) != told and federation.site_names:
                told = sorted(described)
                self._observer.missing(told, sorted(set(federation.site_names) - set(described)))
            if not federation.waits and self._names_all_asked():
                break
            time.sleep(POLL_SECONDS)
        if len(described) < federation.min_sites:
            raise FederationError(
                tr("too few sites to start", "可用的机构过少，无法开始"),
                got=str(len(described)),
                expected=f">= {federation.min_sites} (federation.min_sites)",
            )
        federation.agree(described)
        self._observer.joined(sorted(described))

    def present(self) -> dict[str, int]:
        """Name → node id of the sites that are online now, or were a moment ago and will be back; newcomers are asked who they are
        first."""
        online = self._online()
        self._describe(self._new(online), NEWCOMER_SECONDS)
        presence = self._federation.presence
        here = {self._names[node]: node for node in online if node in self._names}
        for node, name in self._names.items():
            if (
                name not in here
                and not presence.struck_off(node)
                and presence.seen_within(name, ABSENCE_SECONDS)
            ):
                here[name] = node
        return here

    def _online(self) -> dict[int, str]:
        return {
            node.node_id: str(node.name or node.node_id)
            for node in self.grid.get_nodes()
            if (node.status or "online") == "online"
        }

    def _new(self, online: dict[int, str]) -> dict[int, str]:
        now = time.monotonic()
        return {
            node: name
            for node, name in online.items()
            if node not in self._names and now >= self._failed.get(node, 0.0)
        }

    def _names_all_asked(self) -> bool:
        """Whether every node that there is has been asked, and no further one is expected."""
        return len(self._online()) >= self._federation.expected_sites

    def _describe(self, nodes: dict[int, str], seconds: float = DESCRIBE_SECONDS) -> dict[str, DescribeReply]:
        if not nodes:
            return {}
        federation = self._federation
        request = DescribeRequest(run=federation.run, label_names=federation.labels_from_data)
        deadline = min(federation.deadline, seconds)
        asking = Asking(DESCRIBE, request, None, deadline, federation.stop_requested)
        by_name = {name: node for node, name in nodes.items()}
        found: dict[str, DescribeReply] = {}
        silent = set(nodes)
        for answer in ask(self.grid, by_name, asking, federation.presence, lambda: True):
            node = by_name[answer.site]
            silent.discard(node)
            try:
                found[answer.site] = reply = self._checked(answer)
            except EmrFlError as error:
                if self._reasons.get(answer.site) != error.render():  # not every time that it is asked again
                    federation.audit.refused(answer.site, 0, error)
                self._reasons[answer.site] = error.render()
                self._failed[node] = time.monotonic() + ASK_AGAIN_SECONDS
                self._observer.refused(answer.site, error.render())
            else:
                # a node that is gone for good (its key was replaced) leaves its name to the new one
                self._names = {other: name for other, name in self._names.items() if name != reply.site}
                self._names[node] = reply.site
        # one that is offline by now is asked as soon as it is back
        for node in silent & set(by_name.values()) & set(self._online()):
            self._failed[node] = time.monotonic() + SILENT_SECONDS
        return {reply.site: reply for reply in found.values()}

    def _checked(self, answer: Answer) -> DescribeReply:
        """The reply of a node that speaks for itself. Grids without names (Flower's simulation engine) number their nodes."""
        reply = answer.read(DescribeReply)
        if reply.site != answer.site and not answer.site.isdecimal():
            raise FederationError(
                tr("a node answers in another's name", "节点冒用其他机构名"), got=reply.site
            )
        if reply.site in {name for node, name in self._names.items() if node in self._online()}:
            raise FederationError(
                tr("two nodes use one site's name", "两个节点使用同一机构名"), got=reply.site
            )
        return reply
