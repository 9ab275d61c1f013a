"""A masked vector as bytes: a tensor file of integers with the names and shapes of the model's tensors, and the weights beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Shapes, beside
from emr_fl_shared.tensorfile import MAX_HEADER_BYTES, TensorReader, serialise

WEIGHTS = beside("secure", "weights")
_SCHEMA = "emr-fl masked 1"
_STORED = {16: ("I16", np.int16), 32: ("I32", np.int32)}


def pack_masked(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Unsigned arrays as bytes; safetensors' signed types carry them."""
    stored = {name: array.view(_STORED[array.dtype.itemsize * 8][1]) for name, array in arrays.items()}
    return b"".join(serialise(stored, {"schema": _SCHEMA}))


def order(shapes: Shapes) -> list[str]:
    """The order in which masks run through a vector: by name, the weights last."""
    return [*sorted(shapes), WEIGHTS]


def weights_size(rows: int) -> int:
    """Entries of the weights: the count of sites, the weight, and one a label row."""
    return 2 + rows


class MaskedReader:
    """A masked vector, checked for names, shapes, types and digest on opening; raises DataError."""

    def __init__(self, payload: bytes | memoryview, shapes: Shapes, bits: int, rows: int) -> None:
        self._order = order(shapes)
        expected = {name: (_STORED[bits][0], tuple(shape)) for name, shape in shapes.items()}
        expected[WEIGHTS] = ("I32", (weights_size(rows),))
        size = 8 + MAX_HEADER_BYTES + 4 * weights_size(rows)
        size += sum(bits // 8 * int(np.prod(shape, dtype=np.int64)) for shape in shapes.values())
        self._reader = TensorReader(payload, max_bytes=size)
        found = {name: (place.dtype, place.shape) for name, place in self._reader.places.items()}
        if self._reader.metadata.get("schema") != _SCHEMA or found != expected:
            self._reader.close()
            raise DataError(
                tr("not a masked vector of this round's model", "不是本轮模型的掩码向量"),
                got=tr(f"{len(found)} tensors", f"{len(found)} 个张量"),
                expected=tr(f"{len(expected)} tensors of {bits} bits", f"{len(expected)} 个 {bits} 位张量"),
            )
        self._reader.verify()

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and unsigned integers, one array at a time."""
        for name in self._order:
            signed = self._reader.read(name)
            yield name, signed.view(np.dtype(f"u{signed.dtype.itemsize}"))
