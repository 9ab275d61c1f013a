"""Signatures, each over a domain and exact bytes: Ed25519 by the federation, ECDSA with SHA-384 by a node's or the server's own key.

The domain keeps a signature from being used for something else: what was signed as a registry of sites can't be
passed off as a kit or as an app bundle.

A file's signature lies beside it in `NAME.sig`, as lines of base64, at most two: that of the file and that of the
file that it replaced. Two files can't be replaced in one instant; with both signatures in place first, the pair is
valid before, between and after the two replacements (`emr_fl_deploy.provision.issue.write_signed`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KIT_DOMAIN = b"emr-fl kit 1\n"
SITES_DOMAIN = b"emr-fl sites 1\n"
BUNDLE_DOMAIN = b"emr-fl bundle 1\n"
REQUEST_DOMAIN = b"emr-fl request 1\n"
LABELS_DOMAIN = b"emr-fl labels 1\n"
POLICY_DOMAIN = b"emr-fl policy 1\n"
CHAIN_DOMAIN = b"emr-fl audit head 1\n"
"""From REQUEST_DOMAIN on they are signed by a node's or the server's own key (ECDSA), not by the federation's."""

_SIGNATURE_BYTES = 64
_MOST_SIGNATURES = 2


def sign_bytes(private_key: Ed25519PrivateKey, domain: bytes, data: bytes) -> bytes:
    """The signature (64 bytes) of `data` in `domain`."""
    return private_key.sign(_in_domain(domain) + data)


def verify_bytes(
    public_key: Ed25519PublicKey, domain: bytes, data: bytes, signature: bytes, *, where: str
) -> None:
    """Raises PolicyError, naming `where`, unless `signature` is the key's over `data` in `domain`."""
    if not _fits(public_key, domain, data, signature):
        raise _refused(where)


def verify_signed_file(
    public_key: Ed25519PublicKey, domain: bytes, data: bytes, signature_text: bytes, *, where: str
) -> None:
    """The same with the contents of a `.sig` file: one of its signatures must fit."""
    if not any(_fits(public_key, domain, data, one) for one in parse_signatures(signature_text)):
        raise _refused(where)


def signature_text(signatures: Sequence[bytes]) -> bytes:
    """The contents of a `.sig` file."""
    return b"".join(base64.b64encode(one) + b"\n" for one in signatures[:_MOST_SIGNATURES])


def parse_signatures(text: bytes) -> list[bytes]:
    """The signatures in a `.sig` file, none if it is anything else."""
    found = []
    for line in text.splitlines()[:_MOST_SIGNATURES]:
        try:
            signature = base64.b64decode(line, validate=True)
        except (binascii.Error, ValueError):
            return []
        if len(signature) != _SIGNATURE_BYTES:
            return []
        found.append(signature)
    return found


def fitting_signatures(public_key: Ed25519PublicKey, domain: bytes, data: bytes, text: bytes) -> list[bytes]:
    """The signatures in a `.sig` file that fit `data`."""
    return [one for one in parse_signatures(text) if _fits(public_key, domain, data, one)]


def sign_with_own_key(private_key: ec.EllipticCurvePrivateKey, domain: bytes, data: bytes) -> str:
    """Base64 of the ECDSA signature (SHA-384) of `data` in `domain`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return base64.b64encode(private_key.sign(_in_domain(domain) + data, ec.ECDSA(hashes.SHA384()))).decode()


def own_key_signed(
    public_key: ec.EllipticCurvePublicKey, domain: bytes, data: bytes, signature: str | bytes
) -> bool:
    """Whether `signature` is what `sign_with_own_key` makes with the key; `False` as well for what is no signature at all."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        raw = base64.b64decode(signature, validate=True)
        public_key.verify(raw, _in_domain(domain) + data, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _fits(public_key: Ed25519PublicKey, domain: bytes, data: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        public_key.verify(signature, _in_domain(domain) + data)
    except InvalidSignature:
        return False
    return True


def _in_domain(domain: bytes) -> bytes:
    # A domain is one line: no domain is the beginning of another one.
    if not domain.endswith(b"\n") or domain.count(b"\n") != 1:
        raise ValueError("a domain is one line that ends with a newline")
    return domain


def _refused(where: str) -> PolicyError:
    return PolicyError(
        tr("the federation's signature does not fit", "联邦的签名不符"),
        where=where,
        got=tr(
            "a file that was changed or damaged, or that belongs to another federation",
            "文件被改动或损坏，或属于另一个联邦",
        ),
        do=tr(
            "put the original files back, or ask the coordinator for the kit again; only SITE.toml may be edited",
            "请恢复原文件，或向协调方重新索取套件；只有 SITE.toml 可以编辑",
        ),
    )
