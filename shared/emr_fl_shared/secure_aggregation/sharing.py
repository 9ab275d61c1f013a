"""Shamir's secret sharing of 32-byte secrets over GF(2¹²⁸), by pycryptodome, two blocks of 16 bytes.

Flower's `flwr.common.secure_aggregation.crypto.shamir` wraps the same primitive, pads it and starts threads; it is in no public module
of Flower (docs/adr/0011-secure-aggregation.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir

SECRET_BYTES = 32
_BLOCK = 16


def split(secret: bytes, threshold: int, members: int) -> list[bytes]:
    """A share of 32 bytes for each member; member number i (from 0) is the point i + 1. Any `threshold` of them open the secret.

    Raises ValueError for a secret of another length or a threshold outside 1 … members.
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= members:
        raise ValueError("a secret of 32 bytes, and a threshold of at most the members")
    blocks = [
        Shamir.split(threshold, members, secret[begin : begin + _BLOCK], ssss=False)
        for begin in range(0, SECRET_BYTES, _BLOCK)
    ]
    return [b"".join(block[member][1] for block in blocks) for member in range(members)]


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret from shares by member number (from 0); `threshold` of them are used.

    Raises ValueError for too few. Wrong shares give a wrong secret: the caller compares it with what was committed to.
    """
    if len(shares) < threshold:
        raise ValueError("too few shares")
    used = sorted(shares.items())[:threshold]
    return b"".join(
        Shamir.combine([(member + 1, share[begin : begin + _BLOCK]) for member, share in used], ssss=False)
        for begin in range(0, SECRET_BYTES, _BLOCK)
    )
