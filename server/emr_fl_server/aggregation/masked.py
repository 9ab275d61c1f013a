"""The sum of masked vectors, and the mean differences that come out of it once it is opened.

One accumulator of the model's size in integers, whatever the number of sites: a vector is added as it comes and dropped. Nothing
of it is on disk. In the place of `mean.Means`, which reads the sites' updates one by one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Float32, Shapes
from emr_fl_shared.secure_aggregation.fixed_point import FixedPoint, Weights
from emr_fl_shared.secure_aggregation.masked_payload import WEIGHTS, MaskedReader, order, weights_size
from emr_fl_shared.secure_aggregation.masking import KeyStream, Sign
from emr_fl_shared.secure_aggregation.parameters import Parameters

_TOLERANCE = 1e-3
"""Rounding of norms in fp32, relative."""


class MaskedSum:
    """Sum modulo 2^bits of masked vectors of one model; `rows` label rows are weighed by who moved them (0: none)."""

    def __init__(self, shapes: Shapes, parameters: Parameters, members: int, rows: int) -> None:
        self.shapes = dict(shapes)
        self._parameters = parameters
        self._members = members
        self._rows = rows
        self._number = FixedPoint(parameters.bits, parameters.clip, members)
        self._total: dict[str, NDArray[Any]] = {
            name: np.zeros(shape, dtype=self._number.dtype) for name, shape in shapes.items()
        }
        self._total[WEIGHTS] = np.zeros(weights_size(rows), dtype=np.uint32)
        self._added = 0

    def check(self, payload: bytes) -> MaskedReader:
        """A payload opened and checked completely. Raises DataError; the sum is as it was."""
        return MaskedReader(payload, self.shapes, self._parameters.bits, self._rows)

    def add(self, reader: MaskedReader) -> None:
        """Add a vector that was checked."""
        for name, array in reader.arrays():
            self._total[name] += array
        self._added += 1

    def unmask(self, key: bytes, sign: Sign) -> None:
        """Take a mask of this sign out of the sum."""
        stream = KeyStream(key)
        for name in order(self.shapes):
            stream.apply(self._total[name], -1 if sign == 1 else 1)

    def opened(self, row_tensors: Collection[str]) -> MaskedMeans:
        """The means, once all masks are out. Raises FederationError for what can't be a sum of so many honest vectors:
        masks that are still in it, or a site that lied about its norm."""
        try:
            shares = Weights(self._parameters.largest_weight, self._members).shares(
                self._total[WEIGHTS], self._added
            )
        except ValueError:
            raise self._no_sum(tr("the weights", "权重")) from None
        if shares[0] == 0:
            raise FederationError(tr("all updates of this round weigh nothing", "本轮所有更新的权重均为零"))
        square = sum(self._number.squared_norm(self._total[name]) for name in self.shapes)
        elements = sum(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes.values())
        rounding = self._added * self._number.error * math.sqrt(elements)
        bound = shares[0] * self._parameters.max_norm * (1 + _TOLERANCE) + rounding
        if not math.sqrt(square) <= bound:
            raise self._no_sum(
                tr("the norm", "范数"), got=f"{math.sqrt(square):.4g}", expected=f"<= {bound:.4g}"
            )
        return MaskedMeans(self._total, self._number, self.shapes, shares, row_tensors)

    @staticmethod
    def _no_sum(what: str, got: str = "", expected: str = "") -> FederationError:
        return FederationError(
            tr("the opened sum can't be one of honest updates", "解开的总和不可能来自诚实的更新"),
            where=what,
            got=got,
            expected=expected,
            do=tr(
                "the round changes nothing; a site that sends such vectors can't be told from the others in a masked sum",
                "本轮不改变模型；掩码求和下无法辨别是哪个机构发送了异常向量",
            ),
        )


class MaskedMeans:
    """Mean differences out of opened sums, computed a tensor at a time when asked for, as `mean.Means` does.

    `shares`: float64 [1 + K], Σ ω over all sites and over those that moved each label row; in `row_tensors` row r is
    divided by the latter. A row that no site moved gets 0.
    """

    def __init__(
        self,
        total: dict[str, NDArray[Any]],
        number: FixedPoint,
        shapes: Shapes,
        shares: NDArray[np.float64],
        row_tensors: Collection[str],
    ) -> None:
        self._total = total
        self._number = number
        self.shapes = dict(shapes)
        self._share = float(shares[0])
        self._row_shares = shares[1:]
        self._row_tensors = frozenset(row_tensors)

    def of(self, name: str) -> Float32:
        """The mean of one tensor, a fresh fp32 array."""
        if name not in self._row_tensors:
            return self._number.decode(self._total[name], self._share)
        mean = self._number.decode(self._total[name])
        divisor = np.where(self._row_shares > 0, self._row_shares, np.inf)
        mean /= divisor.reshape((-1,) + (1,) * (mean.ndim - 1)).astype(np.float32)
        return mean

    def held(self, name: str) -> NDArray[np.bool_] | None:
        """Rows of the tensor that some site moved, bool [K]; `None` for a tensor without such rows."""
        return np.asarray(self._row_shares > 0) if name in self._row_tensors else None
