"""Real numbers as integers modulo 2^bits, so that the sum over all members never wraps.

With n members and L = ⌊(2^(bits−1) − 1) / n⌋ a value v in [−C, C] becomes q = round(v · L / C), |q| ≤ L; the sum of n of them stays
within ±(2^(bits−1) − 1), so that read as a signed number it is the sum. Rounding costs at most C / (2 L) a member:

    |Σ decoded − Σ v| ≤ n C / (2 L)   (plus the rounding of float64, ~1e-16 relative)

The weighted mean is the quotient of two such sums, Σ ω_k x_k and Σ ω_k, with ω_k = min(w_k, W) / W rounded to a whole number of steps
before it multiplies x_k, so that both sums have the very same weights. Its error is at most n C / (2 L Σ ω_k).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.payload import Float32

_PIECE = 2**18
_UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {16: np.uint16, 32: np.uint32}
_SIGNED: dict[int, type[np.signedinteger[Any]]] = {16: np.int16, 32: np.int32}


@dataclass(frozen=True)
class FixedPoint:
    """Numbers in [−`clip`, `clip`], of at most `members` members, modulo 2^`bits` (16 or 32)."""

    bits: int
    clip: float
    members: int

    @property
    def levels(self) -> int:
        """L: how many steps `clip` is away from 0."""
        return int((2 ** (self.bits - 1) - 1) // self.members)

    @property
    def error(self) -> float:
        """Most that rounding takes from one member's number."""
        return self.clip / (2 * self.levels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Unsigned integers of `bits`."""
        return np.dtype(_UNSIGNED[self.bits])

    def encode(self, values: Float32, factor: float = 1.0) -> NDArray[Any]:
        """`factor` × the finite values, cut to ± `clip`, as ring elements of the same shape."""
        out: NDArray[Any] = np.empty(values.shape, dtype=self.dtype)
        flat, source = out.reshape(-1), np.ascontiguousarray(values).reshape(-1)
        for begin in range(0, source.size, _PIECE):
            piece = source[begin : begin + _PIECE].astype(np.float64)
            # cut before the weight: the bound is one of the difference
            np.clip(piece, -self.clip, self.clip, out=piece)
            piece *= factor * self.levels / self.clip
            flat[begin : begin + _PIECE] = np.rint(piece).astype(np.int64).astype(self.dtype)
        return out

    def decode(self, total: NDArray[Any], divisor: float = 1.0) -> Float32:
        """A sum of ring elements as numbers, divided by `divisor`, fp32."""
        out: Float32 = np.empty(total.shape, dtype=np.float32)
        flat = out.reshape(-1)
        for begin, piece in self._signed(total):
            flat[begin : begin + piece.size] = piece * (self.clip / (self.levels * divisor))
        return out

    def squared_norm(self, total: NDArray[Any]) -> float:
        """Σ v² of a sum of ring elements."""
        steps = sum(float(piece @ piece) for _, piece in self._signed(total))
        return steps * (self.clip / self.levels) ** 2

    def _signed(self, total: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        flat = np.ascontiguousarray(total).reshape(-1).view(_SIGNED[self.bits])
        for begin in range(0, flat.size, _PIECE):
            yield begin, flat[begin : begin + _PIECE].astype(np.float64)


@dataclass(frozen=True)
class Weights:
    """Weights in [0, `largest`] as whole steps of a 32-bit ring."""

    largest: float
    members: int

    @property
    def _numbers(self) -> FixedPoint:
        return FixedPoint(32, 1.0, self.members)

    def steps(self, weight: float) -> int:
        """ω in steps: 0 for no weight, `levels` for `largest` and more."""
        if not weight >= 0:
            raise ValueError("a weight is not negative")
        return round(min(weight, self.largest) / self.largest * self._numbers.levels)

    def share(self, steps: int) -> float:
        """ω ∈ [0, 1]."""
        return steps / self._numbers.levels

    def vector(self, steps: int, moved: NDArray[np.bool_]) -> NDArray[np.uint32]:
        """uint32 [2 + K]: a one that counts the site, the weight, and the weight in each label row that it moved."""
        return np.concatenate([[1, steps], np.where(moved, steps, 0)]).astype(np.uint32)

    def shares(self, total: NDArray[np.uint32], sites: int) -> NDArray[np.float64]:
        """Σ ω, float64 [1 + K], of a sum of the vectors of so many `sites`; where a mask is left in it, the count is off.

        Raises ValueError for what is no such sum.
        """
        found = total[1:].view(np.int32).astype(np.float64) / self._numbers.levels
        if total[0] != sites or (found < 0).any() or (found > sites).any() or (found[1:] > found[0]).any():
            raise ValueError("not a sum of weights")
        return np.asarray(found, dtype=np.float64)
