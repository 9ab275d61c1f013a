"""Masks: the key stream of ChaCha20 (RFC 8439, OpenSSL's, counter from 0) read as unsigned integers, added modulo 2^bits.

A key masks one vector of one session, so the nonce is 0. The vector is a sequence of arrays; each array goes on where the last
one ended, and all is done in pieces, so that memory holds the arrays and 1 MiB beside them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

Sign = Literal[1, -1]

_PIECE = 2**20
_ZEROS = memoryview(bytes(_PIECE))


class KeyStream:
    """The mask of a 32-byte key, handed out array by array."""

    def __init__(self, key: bytes) -> None:
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._buffer = bytearray(_PIECE)

    def apply(self, values: NDArray[Any], sign: Sign) -> None:
        """Add the next part of the mask to contiguous unsigned integers in place, or subtract it."""
        flat = values.reshape(-1)
        if not np.shares_memory(flat, values) and values.size:
            raise ValueError("masks are applied in place, to contiguous arrays")
        width = values.dtype.itemsize
        little = values.dtype.newbyteorder("<")
        for begin in range(0, flat.size, _PIECE // width):
            part = flat[begin : begin + _PIECE // width]
            size = part.size * width
            self._stream.update_into(_ZEROS[:size], memoryview(self._buffer)[:size])
            mask = np.frombuffer(self._buffer, dtype=little, count=part.size)
            if sign == 1:
                np.add(part, mask, out=part)
            else:
                np.subtract(part, mask, out=part)
