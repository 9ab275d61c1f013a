"""What members sign, and whose signature it is: node keys of the kits, by the registry that the federation's authority signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit.files import REGISTRY_LIMIT, read_guarded
from emr_fl_shared.kit.keys import load_node_public_key
from emr_fl_shared.kit.reading import check_registry
from emr_fl_shared.kit.registry import Registry
from emr_fl_shared.messages import tr
from emr_fl_shared.secure_aggregation.bodies import Advertisement
from emr_fl_shared.secure_aggregation.masking import Sign
from emr_fl_shared.secure_aggregation.parameters import Parameters

KEYS_DOMAIN = b"emr-fl secure keys 1\n"
UPDATE_DOMAIN = b"emr-fl secure update 1\n"
CONSENT_DOMAIN = b"emr-fl secure consent 1\n"
"""What is signed for one of them fits none of the others."""

ECDSA = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True)
class SignedRegistry:
    """`sites.json` and its signature, as text."""

    sites: str = field(repr=False)
    signature: str


def signed_registry(folder: Path) -> SignedRegistry:
    """The registry in a folder, unchecked, as it is sent. Raises EmrFlError where it can't be read."""
    path = folder / "sites.json"
    signature = read_guarded(path.with_name(path.name + ".sig"))
    return SignedRegistry(read_guarded(path, limit=REGISTRY_LIMIT).decode(), signature.decode())


@dataclass(frozen=True)
class Trust:
    """Whom a member of a federation believes: its authority's signing key."""

    signing_key: Ed25519PublicKey
    federation_id: str

    def registry(self, signed: SignedRegistry, *, at_least: int = 0) -> Registry:
        """The registry, checked. Raises PolicyError or DataError."""
        return check_registry(
            signed.sites.encode(),
            signed.signature.encode(),
            self.signing_key,
            where=tr("the list of sites that the server sent", "服务器发来的机构名单"),
            at_least=at_least,
            federation_id=self.federation_id,
        )


def node_keys(
    registry: Registry, names: Iterable[str], now: datetime | None = None
) -> dict[str, ec.EllipticCurvePublicKey]:
    """The node keys of these sites. Raises PolicyError for a site that has none that is valid now."""
    moment = now or datetime.now(UTC)
    keys = {}
    for name in names:
        entry = registry.entry_of(name)
        if entry is None or not entry.valid_at(moment):
            raise PolicyError(
                tr("a member that is not registered, or not any more", "成员未登记或登记已失效"),
                where=name,
                got=entry.validity_at(moment) if entry is not None else "-",
                expected="valid",
            )
        keys[name] = load_node_public_key(entry.public_key.encode())
    return keys


def sign(key: ec.EllipticCurvePrivateKey, domain: bytes, statement: Mapping[str, Any]) -> str:
    """A node's signature of a statement in a domain, base64."""
    return base64.b64encode(key.sign(domain + canonical(statement), ECDSA)).decode()


def fits(key: ec.EllipticCurvePublicKey, domain: bytes, statement: Mapping[str, Any], signature: str) -> bool:
    """Whether it is this node's signature of the statement in the domain."""
    try:
        key.verify(base64.b64decode(signature, validate=True), domain + canonical(statement), ECDSA)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def canonical(statement: Any) -> bytes:
    """The bytes of a statement: the same wherever it is made."""
    return json.dumps(statement, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Setting:
    """Which session a statement belongs to, and under which parameters."""

    run: str
    round: int
    session: str
    parameters: Parameters

    def statement(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "run": self.run,
            "round": self.round,
            "session": self.session,
            "parameters": self.parameters.model_dump(mode="json"),
        }


def keys_statement(
    setting: Setting, site: str, cipher_key: str, mask_key: str, commitment: str
) -> dict[str, Any]:
    """What a member signs when it advertises its keys."""
    return {
        **setting.statement(),
        "site": site,
        "cipher_key": cipher_key,
        "mask_key": mask_key,
        "commitment": commitment,
    }


def check_advertisements(
    setting: Setting,
    advertisements: Sequence[Advertisement],
    keys: Mapping[str, ec.EllipticCurvePublicKey],
) -> None:
    """Raises PolicyError unless each is signed by its site for this very session and no key comes twice."""
    seen: set[str] = set()
    for item in advertisements:
        statement = keys_statement(setting, item.site, item.cipher_key, item.mask_key, item.commitment)
        own = {item.site, item.cipher_key, item.mask_key, item.commitment}
        if not fits(keys[item.site], KEYS_DOMAIN, statement, item.signature) or len(own) < 4 or own & seen:
            raise PolicyError(
                tr("keys that their site did not sign for this session", "密钥并非由该机构为本次会话签名"),
                where=item.site,
                do=tr(
                    "the server changed, replayed or mixed up keys; tell the coordinator",
                    "服务器改动、重放或混淆了密钥；请告知协调方",
                ),
            )
        seen |= own


def transcript_of(setting: Setting, advertisements: Iterable[Advertisement]) -> str:
    """SHA-256 of the session and all keys in it: who signs it has seen the same members as everybody else."""
    ordered = sorted(advertisements, key=lambda item: item.site)
    content = {**setting.statement(), "members": [item.model_dump(mode="json") for item in ordered]}
    return hashlib.sha256(canonical(content)).hexdigest()


def consent_statement(transcript: str, survivors: Iterable[str]) -> dict[str, Any]:
    """What a member signs about the list of survivors."""
    return {"transcript": transcript, "survivors": sorted(survivors)}


def update_statement(transcript: str, site: str, sha256: str, norm_bound: float) -> dict[str, Any]:
    """What a member signs about its masked vector."""
    return {"transcript": transcript, "site": site, "sha256": sha256, "norm_bound": norm_bound}


def mask_purpose(transcript: str, one: str, other: str) -> bytes:
    """The purpose of two members' common mask key, the same for both."""
    return canonical(["mask", transcript, *sorted((one, other))])


def seed_purpose(transcript: str, site: str) -> bytes:
    """The purpose of a member's seed."""
    return canonical(["seed", transcript, site])


def share_purpose(transcript: str, sender: str, recipient: str) -> bytes:
    """The purpose of what one member encrypts for another; also authenticated with it."""
    return canonical(["shares", transcript, sender, recipient])


def sign_of(site: str, other: str) -> Sign:
    """+1 where a member adds the mask that it shares with `other`, −1 where it subtracts it."""
    return 1 if site < other else -1
