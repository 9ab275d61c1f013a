"""One member of a session of secure aggregation, step by step (Bonawitz et al. 2017, Figure 4, the user's side).

What it refuses, whatever the server says:

- a group, a list of participants or a list of survivors smaller than the policy's `min_group`, three or the threshold;
- keys that are not signed by registered sites for this very session, and a registry older than one it has seen;
- a second, different question in any step: one group, one list of participants, one model, one list of survivors a session. So
  it can't give out both kinds of share of one member, or shares for two lists of survivors;
- against a hostile server: to reveal anything before more than two thirds have signed the same list of survivors;
- to mask an update anew for another session once it consented to a sum with it (`SessionMemory.spent`): two sums over
  different sites would differ by a single one's update. The server has to ask for another attempt, for which the site trains anew.

A question that comes again is answered with the very same bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from emr_fl_client.masking.memory import GivenAnswer, Secrets, Session, SessionMemory
from emr_fl_client.masking.vector import masked_vector
from emr_fl_shared.errors import FederationError, PolicyError
from emr_fl_shared.kit.keys import load_node_public_key, openssh
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Shapes
from emr_fl_shared.secure_aggregation.agreement import (
    agreed_key,
    derived_key,
    new_private_key,
    open_shares,
    public_key,
    seal_shares,
)
from emr_fl_shared.secure_aggregation.bodies import (
    Advertisement,
    ConsentReply,
    ConsentRequest,
    KeysReply,
    KeysRequest,
    MaskedRequest,
    RevealReply,
    RevealRequest,
    SecureBody,
    SharesReply,
    SharesRequest,
)
from emr_fl_shared.secure_aggregation.masking import KeyStream, Sign
from emr_fl_shared.secure_aggregation.parameters import FEWEST_SURVIVORS, threshold
from emr_fl_shared.secure_aggregation.sharing import SECRET_BYTES, split
from emr_fl_shared.secure_aggregation.statements import (
    CONSENT_DOMAIN,
    KEYS_DOMAIN,
    UPDATE_DOMAIN,
    SignedRegistry,
    Trust,
    check_advertisements,
    consent_statement,
    fits,
    keys_statement,
    mask_purpose,
    node_keys,
    seed_purpose,
    share_purpose,
    sign,
    sign_of,
    transcript_of,
    update_statement,
)
from emr_fl_shared.wire import BodyT, pack


@dataclass(frozen=True)
class Identity:
    """A site's name, its node key, and whose signatures it believes."""

    site: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    trust: Trust = field(repr=False)


@dataclass(frozen=True)
class Masked:
    """A masked vector, and the site's signed word about it."""

    payload: bytes = field(repr=False)
    bits: int
    rows: int
    """Label rows whose weights travel beside the model's tensors."""
    sha256: str
    norm_bound: float
    signature: str


class Member:
    """`min_group`: the smallest group that the site's policy takes part in."""

    def __init__(self, identity: Identity, memory: SessionMemory, min_group: int) -> None:
        self._identity = identity
        self._memory = memory
        self._min_group = max(min_group, FEWEST_SURVIVORS)

    # --- step 0 · keys ------------------------------------------------------------------------------------------------

    def advertise(self, request: KeysRequest) -> KeysReply:
        """New keys for a new session, whose predecessor is forgotten."""
        known = self._memory.session()
        if known is None or known.session != request.session:
            known = Session(
                run=request.run,
                round=request.round,
                session=request.session,
                parameters=request.parameters,
                secrets=Secrets(
                    cipher_key=new_private_key().hex(),
                    mask_key=new_private_key().hex(),
                    seed=os.urandom(SECRET_BYTES).hex(),
                ),
            )
        return self._once(known, "keys", request, KeysReply, self._advertised)

    def _advertised(self, session: Session) -> tuple[Session, KeysReply]:
        secrets = _secrets(session)
        own = Advertisement(
            site=self._site,
            cipher_key=public_key(bytes.fromhex(secrets.cipher_key)).hex(),
            mask_key=public_key(bytes.fromhex(secrets.mask_key)).hex(),
            commitment=hashlib.sha256(bytes.fromhex(secrets.seed)).hexdigest(),
            signature="",
        )
        statement = keys_statement(session.setting, own.site, own.cipher_key, own.mask_key, own.commitment)
        own = own.model_copy(update={"signature": sign(self._identity.key, KEYS_DOMAIN, statement)})
        reply = KeysReply(site=self._site, round=session.round, session=session.session, advertisement=own)
        return session.model_copy(update={"members": [own]}), reply

    # --- step 1 · shares ----------------------------------------------------------------------------------------------

    def share(self, request: SharesRequest) -> SharesReply:
        """Shares of this member's seed and mask key, encrypted for each of the others."""
        return self._once(
            self._current(request),
            "shares",
            request,
            SharesReply,
            lambda session: self._shared(session, request),
        )

    def _shared(self, session: Session, request: SharesRequest) -> tuple[Session, SharesReply]:
        secrets = _secrets(session)
        (own,) = session.members
        members = sorted(request.advertisements, key=lambda item: item.site)
        names = [item.site for item in members]
        self._enough(names, session, "members")
        if own not in members:
            raise PolicyError(
                tr("this site's own keys are not those that it sent", "本机构的密钥与其发送的不符"),
                where="advertisements",
            )
        trust = self._identity.trust
        registry = trust.registry(
            SignedRegistry(request.registry, request.registry_signature),
            at_least=self._memory.revision(trust.federation_id),
        )
        keys = node_keys(registry, names)
        check_advertisements(session.setting, members, keys)
        self._memory.saw(trust.federation_id, registry.revision)
        transcript = transcript_of(session.setting, members)
        t = threshold(len(members), session.parameters.mode)
        seeds = split(bytes.fromhex(secrets.seed), t, len(members))
        mask_keys = split(bytes.fromhex(secrets.mask_key), t, len(members))
        sealed: dict[str, str] = {}
        for item, seed, mask_key in zip(members, seeds, mask_keys, strict=True):
            if item.site == self._site:
                secrets = secrets.model_copy(update={"own_shares": (seed + mask_key).hex()})
                continue
            purpose = share_purpose(transcript, self._site, item.site)
            sealed[item.site] = seal_shares(self._cipher(session, item, purpose), seed + mask_key, purpose)
        after = session.model_copy(
            update={
                "secrets": secrets,
                "members": members,
                "node_keys": {name: openssh(key) for name, key in keys.items()},
                "transcript": transcript,
            }
        )
        reply = SharesReply(site=self._site, round=session.round, session=session.session, sealed=sealed)
        return after, reply

    # --- step 2 · the masked update -----------------------------------------------------------------------------------

    def accept(self, request: MaskedRequest, question: str) -> None:
        """Check, before any work, that an update may be masked for these participants, and remember for which question.

        `question` identifies the request to train and the model, whatever run and session they come in.
        """
        session = self._current(request)
        if not session.transcript:
            raise _out_of_order("masked")
        if (request.train.run, request.train.round) != (session.run, session.round):
            raise PolicyError(
                tr("the session is of another round", "会话属于另一轮次"),
                where="train.round",
                got=f"{request.train.run}, {request.train.round}",
                expected=f"{session.run}, {session.round}",
            )
        if request.train.payload != "fp32" or request.train.controls:
            raise PolicyError(
                tr("only the fp32 difference itself is masked", "只对 fp32 差值本身做掩码"),
                where="train.payload",
                got=request.train.payload,
            )
        if self._memory.spent(question):
            raise PolicyError(
                tr(
                    "this update was already part of a sum; the server has to ask for another attempt",
                    "该更新已参与过一次求和；服务器须发起新的尝试",
                )
            )
        received = {
            sender: sealed.get(self._site, "")
            for sender, sealed in request.shares.items()
            if sender != self._site
        }
        participants = [*received, self._site]
        if self._site not in request.shares or not set(participants) <= set(_names(session)):
            raise PolicyError(
                tr("participants that are no members of the session", "参与者不是会话成员"), where="shares"
            )
        self._enough(participants, session, "participants")
        if session.question and (session.question, session.received) != (question, received):
            raise _second_question("masked")
        if not session.question:
            self._memory.keep(session.model_copy(update={"question": question, "received": received}))

    def mask(self, request: MaskedRequest, update: bytes, shapes: Shapes, weight: float) -> Masked:
        """The update as a masked vector; `accept` comes first. The same update gives the same bytes, another one is refused."""
        session = self._current(request)
        if not session.question:
            raise _out_of_order("masked")
        payload = masked_vector(
            update,
            shapes,
            session.parameters,
            members=len(session.members),
            weight=weight,
            label_tensors=request.label_tensors,
            streams=self._streams(session),
        )
        sha256 = hashlib.sha256(payload).hexdigest()
        if session.sha256 not in ("", sha256):
            # two vectors under one mask: their difference is the difference of two updates
            raise PolicyError(
                tr(
                    "the update came out differently from the one that was masked before; a new session is needed",
                    "更新与先前掩码的更新不一致；需要新的会话",
                )
            )
        self._memory.keep(session.model_copy(update={"sha256": sha256}))
        bound = session.parameters.max_norm
        statement = update_statement(session.transcript, self._site, sha256, bound)
        signature = sign(self._identity.key, UPDATE_DOMAIN, statement)
        rows = shapes[request.label_tensors[0]][0] if request.label_tensors else 0
        return Masked(payload, session.parameters.bits, rows, sha256, bound, signature)

    def largest_weight(self, request: SecureBody) -> float:
        """What a site weighs where all weigh the same."""
        return self._current(request).parameters.largest_weight

    def _streams(self, session: Session) -> list[tuple[KeyStream, Sign]]:
        secrets = _secrets(session)
        own = derived_key(bytes.fromhex(secrets.seed), seed_purpose(session.transcript, self._site))
        streams: list[tuple[KeyStream, Sign]] = [(KeyStream(own), 1)]
        for item in session.members:
            if item.site in session.received:
                purpose = mask_purpose(session.transcript, self._site, item.site)
                key = agreed_key(bytes.fromhex(secrets.mask_key), bytes.fromhex(item.mask_key), purpose)
                streams.append((KeyStream(key), sign_of(self._site, item.site)))
        return streams

    # --- step 3 · consent to the list of survivors --------------------------------------------------------------------

    def consent(self, request: ConsentRequest) -> ConsentReply:
        """This member's signature on the list of survivors, once."""
        return self._once(
            self._current(request),
            "consent",
            request,
            ConsentReply,
            lambda session: self._consented(session, request.survivors),
        )

    def _consented(self, session: Session, survivors: list[str]) -> tuple[Session, ConsentReply]:
        self._agree(session, survivors)
        statement = consent_statement(session.transcript, survivors)
        reply = ConsentReply(
            site=self._site,
            round=session.round,
            session=session.session,
            signature=sign(self._identity.key, CONSENT_DOMAIN, statement),
        )
        return session.model_copy(update={"survivors": sorted(survivors)}), reply

    def _agree(self, session: Session, survivors: list[str]) -> None:
        """Check a list of survivors, and from here on count the update as summed."""
        if not session.sha256:
            raise _out_of_order("consent")
        participants = {*session.received, self._site}
        if len(set(survivors)) < len(survivors) or not {self._site} <= set(survivors) <= participants:
            raise PolicyError(
                tr("survivors that took no part, or without this site", "幸存者名单包含未参与者或缺少本机构"),
                where="survivors",
            )
        self._enough(survivors, session, "survivors")
        self._memory.spend(session.question)

    # --- step 4 · shares revealed -------------------------------------------------------------------------------------

    def reveal(self, request: RevealRequest) -> RevealReply:
        """The shares that open the sum over the survivors, once; then this session's secrets are forgotten."""
        return self._once(
            self._current(request),
            "reveal",
            request,
            RevealReply,
            lambda session: self._revealed(session, request),
        )

    def _revealed(self, session: Session, request: RevealRequest) -> tuple[Session, RevealReply]:
        if session.parameters.mode == "hostile":
            self._check_consents(session, request)
        else:
            self._agree(session, request.survivors)
        survivors = set(request.survivors)
        seeds: dict[str, str] = {}
        mask_keys: dict[str, str] = {}
        for item in session.members:
            shares = self._shares_of(session, item)
            if shares is None:
                continue
            seed, mask_key = shares[:SECRET_BYTES], shares[SECRET_BYTES:]
            if item.site in survivors:
                seeds[item.site] = seed.hex()
            else:
                mask_keys[item.site] = mask_key.hex()
        reply = RevealReply(
            site=self._site,
            round=session.round,
            session=session.session,
            seeds=seeds,
            mask_keys=mask_keys,
        )
        forgotten: dict[str, object] = {"secrets": None, "received": {}, "survivors": sorted(survivors)}
        return session.model_copy(update=forgotten), reply

    def _check_consents(self, session: Session, request: RevealRequest) -> None:
        if not session.survivors or sorted(request.survivors) != session.survivors:
            raise PolicyError(
                tr("not the list of survivors that this site signed", "与本机构签名的幸存者名单不符"),
                where="survivors",
            )
        statement = consent_statement(session.transcript, session.survivors)
        signed = [
            name
            for name, signature in request.consents.items()
            if name in session.survivors
            and fits(
                load_node_public_key(session.node_keys[name].encode()), CONSENT_DOMAIN, statement, signature
            )
        ]
        needed = threshold(len(session.members), session.parameters.mode)
        if len(signed) < needed:
            raise PolicyError(
                tr("too few members signed this list of survivors", "对该幸存者名单签名的成员过少"),
                where="consents",
                got=str(len(signed)),
                expected=f">= {needed}",
            )

    def _shares_of(self, session: Session, item: Advertisement) -> bytes | None:
        """What `item`'s site shared with this member; `None` where it shared nothing that can be read."""
        if item.site == self._site:
            return bytes.fromhex(_secrets(session).own_shares)
        sealed = session.received.get(item.site)
        if not sealed:
            return None
        purpose = share_purpose(session.transcript, item.site, self._site)
        shares = open_shares(self._cipher(session, item, purpose), sealed, purpose)
        return shares if shares is not None and len(shares) == 2 * SECRET_BYTES else None

    # --- what all steps have in common --------------------------------------------------------------------------------

    @property
    def _site(self) -> str:
        return self._identity.site

    def _cipher(self, session: Session, other: Advertisement, purpose: bytes) -> bytes:
        private = bytes.fromhex(_secrets(session).cipher_key)
        return agreed_key(private, bytes.fromhex(other.cipher_key), purpose)

    def _current(self, request: SecureBody) -> Session:
        session = self._memory.session()
        if session is None or (session.session, session.round) != (request.session, request.round):
            raise FederationError(
                tr("no such session at this site (any more)", "本机构没有（或不再有）此会话"),
                where="session",
                do=tr("the server begins a new one", "服务器会开始新的会话"),
            )
        return session

    def _enough(self, names: Collection[str], session: Session, where: str) -> None:
        needed = self._min_group
        if where != "members":
            needed = max(needed, threshold(len(session.members), session.parameters.mode))
        if len(set(names)) < needed or len(set(names)) < len(names):
            raise PolicyError(
                tr("too few sites to hide one among them", "机构过少，无法隐藏单个机构"),
                where="policy.min_group" if needed == self._min_group else where,
                got=str(len(set(names))),
                expected=f">= {needed}",
            )

    def _once(
        self,
        session: Session,
        step: str,
        request: SecureBody,
        kind: type[BodyT],
        make: Callable[[Session], tuple[Session, BodyT]],
    ) -> BodyT:
        """The answer that this question got before, or a new one, which is on disk before it leaves."""
        question = hashlib.sha256(pack(request).encode()).hexdigest()
        given: Mapping[str, GivenAnswer] = session.answers
        if step in given:
            if given[step].question != question:
                raise _second_question(step)
            return kind.model_validate_json(given[step].reply)
        after, reply = make(session)
        answer = GivenAnswer(question=question, reply=pack(reply))
        self._memory.keep(after.model_copy(update={"answers": {**after.answers, step: answer}}))
        return reply


def _names(session: Session) -> list[str]:
    return [item.site for item in session.members]


def _secrets(session: Session) -> Secrets:
    if session.secrets is None:
        raise PolicyError(tr("this session is over", "该会话已结束"), where="session")
    return session.secrets


def _second_question(step: str) -> PolicyError:
    return PolicyError(
        tr(
            "a second, different question in one step of a session",
            "同一会话的同一步骤收到第二个不同的请求",
        ),
        where=step,
        do=tr("an honest server begins a new session", "诚实的服务器会开始新的会话"),
    )


def _out_of_order(step: str) -> PolicyError:
    return PolicyError(tr("a step before its turn", "步骤顺序不正确"), where=step)
