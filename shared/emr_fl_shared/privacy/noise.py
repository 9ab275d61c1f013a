"""Noise that nobody can draw again: the key stream of ChaCha20 (RFC 8439) under a fresh key, as uniform and Gaussian numbers.

A training seed must not drive it: the server sends that seed to every site, and who can draw the noise can subtract it. The key
comes from the operating system, is never written, and goes with the object.

Gaussian numbers by Box & Muller, *A Note on the Generation of Random Normal Deviates*, 1958, in float64:

    z₀ = √(−2 ln u₁) cos 2πu₂,   z₁ = √(−2 ln u₁) sin 2πu₂,   u₁ ∈ (0, 1], u₂ ∈ [0, 1), 53 bits each

so that |z| ≤ √(2·53·ln 2) = 8.57: of a true Gaussian, 1 in 10¹⁷ lies beyond. Not addressed: that floating-point numbers have
gaps, which Mironov, *On Significance of the Least Significant Bits for Differential Privacy*, 2012, turns into an attack on outputs
whose last bits are seen (docs/privacy.md).
"""

from __future__ import annotations

import math
import os
import struct

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

_AT_ONCE = 2**20
_PIECE_BYTES = 2**32
"""A nonce serves this much of the stream: its block counter has 32 bits of 64-byte blocks, sixty-four times as much."""


class NoiseStream:
    """One stream. `key`: 32 bytes, for tests that need the same numbers twice; left out, from the operating system."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = os.urandom(32) if key is None else key
        self._piece = 0
        self._begin()

    def _begin(self) -> None:
        # 32 bits of block counter, then 96 bits of nonce (RFC 8439 §2.3), as `cryptography` takes them
        nonce = struct.pack("<IQI", 0, self._piece, 0)
        self._cipher = Cipher(ChaCha20(self._key, nonce), mode=None).encryptor()
        self._left = _PIECE_BYTES
        self._piece += 1

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes, at most 2³²."""
        if count > self._left:
            self._begin()
        self._left -= count
        return self._cipher.update(bytes(count))

    def seed(self) -> int:
        """A seed of 63 bits for a generator whose draws need to be secret, too."""
        return int.from_bytes(self.bytes(8), "big") >> 1

    def uniform(self, count: int) -> NDArray[np.float64]:
        """`count` numbers in [0, 1), 53 bits each."""
        words = np.frombuffer(self.bytes(8 * count), dtype="<u8")
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def bernoulli(self, count: int, rate: float) -> NDArray[np.bool_]:
        """`count` independent draws that are true with probability `rate`: Poisson sampling of so many units."""
        chosen: NDArray[np.bool_] = self.uniform(count) < rate
        return chosen

    def normal(self, shape: tuple[int, ...], deviation: float) -> NDArray[np.float32]:
        """Independent draws of N(0, deviation²); drawn and scaled in float64, rounded once."""
        size = math.prod(shape)
        drawn = np.empty(size, dtype=np.float32)
        for start in range(0, size, _AT_ONCE):
            count = min(_AT_ONCE, size - start)
            half = (count + 1) // 2
            radius = np.sqrt(-2.0 * np.log(1.0 - self.uniform(half))) * deviation
            angle = 2.0 * np.pi * self.uniform(half)
            pairs = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
            drawn[start : start + count] = pairs[:count]
        return drawn.reshape(shape)
