"""Keys: reading them, and the fingerprint by which people and registries name them."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
_LONGEST_PUBLIC_KEY = 4096


def fingerprint_of(public_key: PublicKeyTypes) -> str:
    """SHA-256 of the key's DER SubjectPublicKeyInfo, 64 hexadecimal digits."""
    der = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def load_node_public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """A node's public key from OpenSSH text, PEM or DER. Raises ValueError for anything but a P-384 key.

    OpenSSH is the form in kits and registries; PEM is what a SuperNode sends with each request.
    """
    if len(data) > _LONGEST_PUBLIC_KEY:
        raise ValueError("too long for a public key")
    try:
        if data.startswith(b"ecdsa-"):
            key: object = serialization.load_ssh_public_key(data.strip())
        elif data.startswith(b"-----BEGIN PUBLIC KEY-----"):
            key = serialization.load_pem_public_key(data)
        else:
            key = serialization.load_der_public_key(data)
    except _UNREADABLE:
        raise ValueError("not a public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("not an EC P-384 key")
    return key


def load_node_key(data: bytes, *, where: str) -> ec.EllipticCurvePrivateKey:
    """A node's private key in OpenSSH format without passphrase, as `flower-supernode` reads it."""
    try:
        key: object = serialization.load_ssh_private_key(data, password=None)
    except _UNREADABLE:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _not_a_key(where, tr("an EC P-384 key in OpenSSH format", "OpenSSH 格式的 EC P-384 私钥"))
    return key


def load_server_key(data: bytes, *, where: str) -> ec.EllipticCurvePrivateKey:
    """An EC private key in PEM without passphrase (the server's, the authority's)."""
    try:
        key: object = serialization.load_pem_private_key(data, password=None)
    except _UNREADABLE:
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _not_a_key(where, tr("an EC key in PEM format", "PEM 格式的 EC 私钥"))
    return key


def load_signing_key(data: bytes, *, where: str) -> Ed25519PrivateKey:
    """The federation's signing key, in PEM without passphrase."""
    try:
        key: object = serialization.load_pem_private_key(data, password=None)
    except _UNREADABLE:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(where, tr("an Ed25519 key in PEM format", "PEM 格式的 Ed25519 私钥"))
    return key


def load_signing_public_key(data: bytes, *, where: str) -> Ed25519PublicKey:
    """The federation's public signing key, in PEM."""
    try:
        key: object = serialization.load_pem_public_key(data)
    except _UNREADABLE:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise _not_a_key(where, tr("an Ed25519 public key in PEM format", "PEM 格式的 Ed25519 公钥"))
    return key


def openssh(public_key: ec.EllipticCurvePublicKey) -> str:
    """A public key as one line of OpenSSH text, without comment."""
    return public_key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode(
        "ascii"
    )


def _not_a_key(where: str, expected: str) -> PolicyError:
    # What the file holds is never quoted: it may be a private key.
    return PolicyError(
        tr("not the key that belongs here", "不是应在此处的密钥"),
        where=where,
        expected=expected,
        do=tr("put the original file back, or ask for the kit again", "请恢复原文件，或重新索取套件"),
    )
