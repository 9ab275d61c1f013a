"""Members of a secure aggregation with real keys, and a server's side to go with them, without Flower and without training."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emr_fl_client.masking import Identity, Masked, Member, SessionMemory
from emr_fl_server.aggregation import MaskedMeans, Opening
from emr_fl_shared.kit.documents import SCHEMA, RegistryDocument, SiteEntry, document_bytes
from emr_fl_shared.kit.keys import fingerprint_of, openssh
from emr_fl_shared.kit.signing import SITES_DOMAIN, sign_bytes, signature_text
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.secure_aggregation.bodies import (
    ConsentRequest,
    KeysRequest,
    MaskedReply,
    MaskedRequest,
    RevealRequest,
    SharesRequest,
)
from emr_fl_shared.secure_aggregation.parameters import Parameters
from emr_fl_shared.secure_aggregation.statements import Setting, SignedRegistry, Trust
from emr_fl_shared.wire import TrainReply, TrainRequest

PARAMETERS = Parameters(mode="hostile", bits=32, clip=1.0, largest_weight=1000.0, max_norm=100.0)
NOBODY: Mapping[str, Collection[str]] = {}
Tensors = dict[str, np.ndarray]


def names_of(count: int) -> list[str]:
    return [f"site-{number:02d}" for number in range(count)]


def train_request(number: int = 1, **changes: object) -> TrainRequest:
    plain = {
        "run": "run",
        "round": number,
        "rounds": 9,
        "seed": 0,
        "model": {},
        "taxonomy": "-",
        "training": {},
        "decision": {},
    }
    return TrainRequest.model_validate({**plain, **changes})


def train_reply(site: str, examples: int = 10) -> TrainReply:
    return TrainReply(
        site=site,
        round=1,
        examples=examples,
        validation_examples=1,
        steps=1,
        seconds=1.0,
        single_label=True,
        payload="fp32",
        device="cpu",
        precision="fp32",
        peak_rss_mb=1.0,
    )


def registry(
    keys: Mapping[str, ec.EllipticCurvePrivateKey], signing: Ed25519PrivateKey, revision: int = 1
) -> SignedRegistry:
    now = datetime.now(UTC).replace(microsecond=0)
    document = RegistryDocument(
        schema=SCHEMA,
        federation="f",
        federation_id="0" * 32,
        revision=revision,
        sites=tuple(
            SiteEntry(
                name=name,
                public_key=openssh(key.public_key()),
                fingerprint=fingerprint_of(key.public_key()),
                not_before=now - timedelta(days=1),
                not_after=now + timedelta(days=1),
                revoked=False,
            )
            for name, key in keys.items()
        ),
    )
    data = document_bytes(document)
    return SignedRegistry(data.decode(), signature_text([sign_bytes(signing, SITES_DOMAIN, data)]).decode())


@dataclass
class Group:
    """`names` as members in `folder`; `min_group` of every policy."""

    folder: Path
    names: Sequence[str]
    parameters: Parameters = PARAMETERS
    min_group: int = 3
    number: int = 1
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        self.keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in self.names}
        self.signed = registry(self.keys, self.signing)
        self.trust = Trust(self.signing.public_key(), "0" * 32)
        self.members = {name: self.member(name) for name in self.names}

    def member(self, name: str, min_group: int | None = None) -> Member:
        """The site's process, started anew."""
        identity = Identity(name, self.keys[name], self.trust)
        memory = SessionMemory(self.folder / name, hashlib.sha256(name.encode()).digest())
        return Member(identity, memory, min_group or self.min_group)

    def session(self) -> Session:
        return Session(self, Setting("run", self.number, secrets.token_hex(16), self.parameters))


@dataclass
class Session:
    """One session, step by step; `drop` names who does not answer in a step."""

    group: Group
    setting: Setting

    def __post_init__(self) -> None:
        self.opening = Opening(self.setting, self.group.trust.registry(self.group.signed))
        self.id = {"round": self.setting.round, "session": self.setting.session}
        self.vectors: dict[str, Masked] = {}
        self.question = "question"

    def keys(self, drop: Collection[str] = ()) -> None:
        request = KeysRequest(**self.id, run=self.setting.run, parameters=self.setting.parameters)
        for name in left(self.group.names, drop):
            self.opening.add_keys(name, self.group.members[name].advertise(request))
        self.opening.close_keys()

    def shares_request(self) -> SharesRequest:
        return SharesRequest(
            **self.id,
            advertisements=[self.opening.advertisements[name] for name in self.opening.members],
            registry=self.group.signed.sites,
            registry_signature=self.group.signed.signature,
        )

    def shares(self, drop: Collection[str] = ()) -> None:
        request = self.shares_request()
        for name in left(self.opening.members, drop):
            self.opening.add_shares(name, self.group.members[name].share(request))

    def masked_request(self, label_tensors: Sequence[str] = (), **train: object) -> MaskedRequest:
        return MaskedRequest(
            **self.id,
            shares=self.opening.sealed,
            weighting="examples",
            label_tensors=list(label_tensors),
            train=train_request(self.setting.round, **train),
        )

    def mask(
        self, name: str, update: Tensors, weight: float, label_tensors: Sequence[str] = ()
    ) -> tuple[MaskedReply, Masked]:
        member, request = self.group.members[name], self.masked_request(label_tensors)
        member.accept(request, self.question)
        masked = member.mask(request, pack_tensors(update).data, shapes_of(update), weight)
        reply = MaskedReply(
            **self.id,
            site=name,
            sha256=masked.sha256,
            norm_bound=masked.norm_bound,
            signature=masked.signature,
            trained=train_reply(name),
        )
        return reply, masked

    def masked(
        self,
        updates: Mapping[str, Tensors],
        weights: Mapping[str, float],
        drop: Collection[str] = (),
        label_tensors: Sequence[str] = (),
    ) -> None:
        some = next(iter(updates.values()))
        rows = some[label_tensors[0]].shape[0] if label_tensors else 0
        self.opening.expect(shapes_of(some), rows)
        for name in left(sorted(self.opening.sealed), drop):
            reply, masked = self.mask(name, updates[name], weights[name], label_tensors)
            self.opening.add_masked(name, reply, masked.payload)
            self.vectors[name] = masked
        self.opening.close_masked()

    def consent(self, drop: Collection[str] = ()) -> None:
        request = ConsentRequest(**self.id, survivors=self.opening.survivors)
        for name in left(self.opening.survivors, drop):
            self.opening.add_consent(name, self.group.members[name].consent(request))

    def reveal_request(self) -> RevealRequest:
        return RevealRequest(**self.id, survivors=self.opening.survivors, consents=self.opening.consents)

    def reveal(self, drop: Collection[str] = ()) -> None:
        hostile = self.setting.parameters.mode == "hostile"
        for name in left(sorted(self.opening.consents) if hostile else self.opening.survivors, drop):
            self.opening.add_reveal(name, self.group.members[name].reveal(self.reveal_request()))

    def run(
        self,
        updates: Mapping[str, Tensors],
        weights: Mapping[str, float],
        drop: Mapping[str, Collection[str]] = NOBODY,
        label_tensors: Sequence[str] = (),
    ) -> MaskedMeans:
        """All steps; `drop`: step → who does not answer in it."""
        self.keys(drop.get("keys", ()))
        self.shares(drop.get("shares", ()))
        self.masked(updates, weights, drop.get("masked", ()), label_tensors)
        if self.setting.parameters.mode == "hostile":
            self.consent(drop.get("consent", ()))
        self.reveal(drop.get("reveal", ()))
        return self.opening.open(label_tensors)


def left(names: Sequence[str], drop: Collection[str]) -> list[str]:
    return [name for name in names if name not in drop]


def shapes_of(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}
