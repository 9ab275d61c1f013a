"""One round of secure aggregation over the message loop: keys → shares → masked updates → consent → shares revealed.

A site that drops out in one step is left out of the following ones. Fewer than three, `federation.min_sites` or the threshold in
any step end the round: nothing was learned, the model is as it was, and the round is asked for again in a new session.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flwr.serverapp import Grid

from emr_fl_server.admission import Admission, RoundFailed, TooFewUpdates
from emr_fl_server.aggregation import MaskedMeans, Opening
from emr_fl_server.asking import Answer, Asking, ask
from emr_fl_server.federation import Federation, FederationState
from emr_fl_shared.errors import EmrFlError, FederationError, PolicyError, StorageError
from emr_fl_shared.messages import tr
from emr_fl_shared.secure_aggregation.bodies import (
    CONSENT,
    KEYS,
    MASKED,
    REVEAL,
    SHARES,
    ConsentReply,
    ConsentRequest,
    KeysReply,
    KeysRequest,
    MaskedReply,
    MaskedRequest,
    RevealReply,
    RevealRequest,
    SharesReply,
    SharesRequest,
)
from emr_fl_shared.secure_aggregation.parameters import MOST_MEMBERS
from emr_fl_shared.secure_aggregation.statements import Setting
from emr_fl_shared.wire import Body

if TYPE_CHECKING:
    from emr_fl_server.rounds import Observer

STEP_SECONDS = 300.0
"""How long the small steps wait for sites that are there."""


def masked_means(
    grid: Grid,
    federation: Federation,
    observer: Observer,
    state: FederationState,
    admission: Admission,
    nodes: Mapping[str, int],
) -> tuple[MaskedMeans, int]:
    """The mean differences of a round, and the bytes of the model that each site got.

    Raises `TooFewUpdates`, or `PolicyError` where the sites' policies are the reason; `RoundFailed` for a sum that can't be.
    """
    assert federation.trust is not None and federation.signed_registry is not None
    number = state.round + 1
    signed = federation.signed_registry()
    registry = federation.trust.registry(signed)
    setting = Setting(federation.run, number, secrets.token_hex(16), federation.parameters())
    session: dict[str, Any] = {"round": number, "session": setting.session}
    opening = Opening(setting, registry)
    steps = _Steps(grid, federation, observer, admission, number)
    # 0 · keys
    first = dict(sorted(nodes.items())[:MOST_MEMBERS])
    steps.ask(
        KEYS,
        KeysRequest(**session, run=federation.run, parameters=setting.parameters),
        first,
        lambda answer: opening.add_keys(answer.site, answer.read(KeysReply)),
    )
    opening.close_keys()
    steps.need(opening.members, federation.fewest_survivors)
    most = max(federation.fewest_survivors, opening.threshold)
    # 1 · shares
    request = SharesRequest(
        **session,
        advertisements=[opening.advertisements[name] for name in opening.members],
        registry=signed.sites,
        registry_signature=signed.signature,
    )
    steps.ask(
        SHARES,
        request,
        _of(nodes, opening.members),
        lambda answer: opening.add_shares(answer.site, answer.read(SharesReply)),
    )
    steps.need(opening.sealed, most)
    # 2 · masked updates, added as they come
    model_bytes = _masked_updates(steps, opening, state, session, _of(nodes, opening.sealed))
    opening.close_masked()
    if admission.forbidden and len(opening.survivors) < most and federation.attempt(number) == 1:
        # sites that count this attempt as summed (in a run that was begun before) are asked for another one
        federation.spend_attempt(number)
        admission.forbidden.clear()
    steps.need(opening.survivors, most)
    # 3 · consent: from here on the sites count this attempt's updates as summed
    federation.spend_attempt(number)
    asked = _of(nodes, opening.survivors)
    if setting.parameters.mode == "hostile":
        steps.ask(
            CONSENT,
            ConsentRequest(**session, survivors=opening.survivors),
            asked,
            lambda answer: opening.add_consent(answer.site, answer.read(ConsentReply)),
            needed=opening.threshold,
        )
        steps.need(opening.consents, opening.threshold)
        asked = _of(nodes, opening.consents)
    # 4 · shares revealed, masks out
    steps.ask(
        REVEAL,
        RevealRequest(**session, survivors=opening.survivors, consents=opening.consents),
        asked,
        lambda answer: opening.add_reveal(answer.site, answer.read(RevealReply)),
        needed=opening.threshold,
    )
    steps.need(opening.revealed, opening.threshold)
    observer.aggregating(number)
    try:
        means = opening.open(federation.label_rows())
    except FederationError as error:
        raise RoundFailed(
            error.message, where=error.where, got=error.got, expected=error.expected, do=error.do
        ) from None
    federation.audit.write(
        "opened",
        round=number,
        session=setting.session,
        mode=setting.parameters.mode,
        members=len(opening.members),
        threshold=opening.threshold,
        survivors=opening.survivors,
    )
    return means, model_bytes


def _masked_updates(
    steps: _Steps,
    opening: Opening,
    state: FederationState,
    session: Mapping[str, Any],
    nodes: Mapping[str, int],
) -> int:
    """Ask for the masked updates; returns the bytes of the model that went down."""
    federation, admission, number = steps.federation, steps.admission, steps.number
    label_tensors = federation.label_rows()
    assert federation.taxonomy is not None
    opening.expect(federation.shapes(state), len(federation.taxonomy.labels) if label_tensors else 0)
    model_bytes = 0

    def model() -> bytes:
        nonlocal model_bytes
        payload = federation.round_payload(state)
        model_bytes = len(payload)
        return payload

    def take(answer: Answer) -> None:
        reply = answer.read(MaskedReply)
        admission.check(answer.site, number, reply.trained)
        opening.add_masked(answer.site, reply, answer.payload)
        assert answer.payload is not None
        admission.record(
            answer.site,
            number,
            reply.trained,
            len(answer.payload),
            norm_bound=reply.norm_bound,
            examples=reply.trained.examples,
        )
        steps.observer.replied(answer.site, reply.trained)

    request = MaskedRequest.model_validate(
        {
            **session,
            "shares": opening.sealed,
            "weighting": federation.settings.aggregation.weighting,
            "label_tensors": list(label_tensors),
            "train": federation.train_request(number, state),
        }
    )
    steps.ask(MASKED, request, nodes, take, model=model)
    return model_bytes


def _of(nodes: Mapping[str, int], names: Collection[str]) -> dict[str, int]:
    return {name: nodes[name] for name in sorted(names)}


@dataclass
class _Steps:
    """What asks all sites that are left one thing, and records who did not answer."""

    grid: Grid
    federation: Federation
    observer: Observer
    admission: Admission
    number: int

    def ask(
        self,
        kind: str,
        request: Body,
        nodes: Mapping[str, int],
        take: Callable[[Answer], None],
        *,
        model: Callable[[], bytes] | None = None,
        needed: int | None = None,
    ) -> None:
        """Hand each answer to `take`; one that it can't take is refused and costs its site the round."""
        deadline = (
            self.federation.deadline if model is not None else min(STEP_SECONDS, self.federation.deadline)
        )
        enough = self.federation.fewest_survivors if needed is None else needed
        taken: set[str] = set()
        refused: set[str] = set()
        asking = Asking(kind, request, model, deadline)
        answers = ask(self.grid, nodes, asking, self.federation.presence, lambda: len(taken) >= enough)
        for answer in answers:
            try:
                take(answer)
            except StorageError:
                raise  # our own disk, no fault of the site
            except EmrFlError as error:
                refused.add(answer.site)
                self._refuse(answer.site, error)
            else:
                taken.add(answer.site)
            del answer  # and its payload, before the next one is waited for
        for site in sorted(set(nodes) - taken - refused):
            self.admission.late(site, self.number)
            self.observer.late(site)

    def _refuse(self, site: str, error: EmrFlError) -> None:
        if site in self.admission.accepted:  # its update is in the sum; what it does not say now others may
            self.federation.audit.write("no share", site=site, round=self.number, reason=error.render())
        else:
            self.admission.refuse(site, self.number, error)
            self.observer.refused(site, error.render())

    def need(self, names: Collection[str], least: int) -> None:
        """Raises `TooFewUpdates` (or `PolicyError`) for fewer than `least`."""
        if len(names) >= least:
            return
        forbidden = len(names) + len(self.admission.forbidden) >= least
        raise (PolicyError if forbidden else TooFewUpdates)(
            tr("too few sites for a sum in which none can be told apart", "机构过少，总和无法隐藏单个机构"),
            where=f"round {self.number}",
            got=str(len(names)),
            expected=tr(
                f">= {least} (3, federation.min_sites and the threshold of privacy.secure_aggregation.mode)",
                f">= {least}（3、federation.min_sites 与 privacy.secure_aggregation.mode 的门限取最大）",
            ),
            do=tr(
                "see audit/ in the run folder; continue with --resume",
                "参见运行目录的 audit/；可用 --resume 继续",
            ),
        )
