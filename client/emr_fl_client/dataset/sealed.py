"""Files that only their site can read, and that nobody can change, shorten or swap unnoticed.

Layout: 16 bytes of magic, 32 random bytes of salt, then chunks of at most 1 MiB, each AES-256-GCM (NIST SP 800-38D)
ciphertext with its 16-byte tag. The key is HKDF-SHA256 (RFC 5869) of the site's key with the file's own salt and its
purpose as info, so every file has a key of its own. The nonce is the chunk's number (11 bytes, big endian) and a byte
that says whether it is the last one (the STREAM construction: Hoang, Reyhanitabar, Rogaway, Vizár 2015): under a key
that is used for one file only, no nonce comes twice, and chunks can't be left out, repeated, reordered or cut off
at the end. Purpose and magic are authenticated with every chunk, so that no file can stand in for another.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"emr-fl sealed 1\n"
SALT_BYTES = 32
TAG_BYTES = 16
CHUNK_BYTES = 2**20
_NUMBER_BYTES = 11


class Unreadable(Exception):
    """A sealed file is torn, was changed, serves another purpose, or was made with another key: these can't be told apart."""


def derive_key(key: bytes, purpose: str, salt: bytes = b"") -> bytes:
    """32 bytes from the site's key for one purpose. Raises `ValueError` for an empty key."""
    if not key:
        raise ValueError("a sealed file needs a key")
    return HKDF(SHA256(), length=32, salt=salt or None, info=b"emr-fl|" + purpose.encode()).derive(key)


def seal(content: Iterable[bytes | memoryview], key: bytes, purpose: str) -> Iterator[bytes]:
    """The bytes of a sealed file, in pieces; a fresh salt each time."""
    salt = secrets.token_bytes(SALT_BYTES)
    cipher = AESGCM(derive_key(key, purpose, salt))
    bound = MAGIC + purpose.encode()
    yield MAGIC + salt
    number = 0
    waiting = bytearray()  # the last chunk is known as such only when nothing follows
    for piece in content:
        view = memoryview(piece).cast("B")
        while len(view):
            if len(waiting) == CHUNK_BYTES:
                yield cipher.encrypt(_nonce(number, last=False), bytes(waiting), bound)
                number += 1
                waiting.clear()
            taken = min(len(view), CHUNK_BYTES - len(waiting))
            waiting += view[:taken]
            view = view[taken:]
    yield cipher.encrypt(_nonce(number, last=True), bytes(waiting), bound)


def unseal(path: Path, key: bytes, purpose: str) -> bytes:
    """The content of a sealed file, all of it verified.

    Raises `Unreadable`, or `OSError` as `open` does.
    """
    bound = MAGIC + purpose.encode()
    content = bytearray()
    with path.open("rb") as file:
        left = path.stat().st_size - len(MAGIC) - SALT_BYTES
        magic, salt = file.read(len(MAGIC)), file.read(SALT_BYTES)
        if magic != MAGIC or len(salt) != SALT_BYTES or left < TAG_BYTES:
            raise Unreadable
        cipher = AESGCM(derive_key(key, purpose, salt))
        number = 0
        while left > 0:
            chunk = file.read(min(left, CHUNK_BYTES + TAG_BYTES))
            left -= CHUNK_BYTES + TAG_BYTES
            try:
                content += cipher.decrypt(_nonce(number, last=left <= 0), chunk, bound)
            except (InvalidTag, ValueError):  # ValueError: fewer bytes than a tag has
                raise Unreadable from None
            number += 1
    return bytes(content)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + bytes([last])
