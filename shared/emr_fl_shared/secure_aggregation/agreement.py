"""Keys of two members for each other: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D)."""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE_BYTES = 12


def new_private_key() -> bytes:
    """A fresh X25519 private key, 32 bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The public key, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed_key(private: bytes, public: bytes, purpose: bytes) -> bytes:
    """32 bytes that both owners get for one purpose. Raises ValueError for a public key of small order."""
    secret = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    return derived_key(secret, purpose)


def derived_key(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes of a secret for one purpose."""
    return HKDF(SHA256(), length=KEY_BYTES, salt=None, info=b"emr-fl secure aggregation 1|" + purpose).derive(
        secret
    )


def seal_shares(key: bytes, content: bytes, bound: bytes) -> str:
    """`content` encrypted under a key that is used in one direction, as base64; `bound` is authenticated with it."""
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, content, bound)).decode()


def open_shares(key: bytes, sealed: str, bound: bytes) -> bytes | None:
    """The content, or `None` where it was not made with this key for this purpose."""
    try:
        raw = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], bound)
    except (binascii.Error, InvalidTag, ValueError):
        return None
