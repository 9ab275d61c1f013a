"""Keyed pseudonyms: the same patient gets the same name inside a site, and nobody without the key can tell whose it is.

HMAC-SHA256 (RFC 2104), 128 bits kept. A bare hash would not do: the few hundred million possible record numbers can all be tried.
"""

from __future__ import annotations

import hashlib
import hmac

_BYTES = 16


def pseudonym(key: bytes, domain: str, value: str) -> str:
    """32 hexadecimal digits for `value`; `domain` keeps numbers of patients and records apart.

    Raises `ValueError` for an empty key.
    """
    if not key:
        raise ValueError("a pseudonym needs a key")
    message = f"{domain}\x1f{value.strip()}".encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:_BYTES].hex()
