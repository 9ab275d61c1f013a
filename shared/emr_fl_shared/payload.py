"""Tensors ⇄ bytes: what a model or an update weighs on the wire.

A payload is a safetensors file in memory. Forms:

- `fp32`  as it is; the global model goes down in it.
- `bf16`  rounded to nearest even: relative error ≤ 2⁻⁸, half the bytes.
- `int8`  round(v / s) with s = max|v| / 127 for each row of a tensor of two or more dimensions (its first one), one for a
  vector: error ≤ s/2, a quarter of the bytes.

The two rounded forms are meant for *differences* to the round's model. What rounding lost is handed back as the residual:
added to the next round's difference (error feedback; Seide et al., 1-Bit SGD, Interspeech 2014; Karimireddy et al.,
Error Feedback Fixes SignSGD, ICML 2019) nothing is lost for good.

The receiver knows names and shapes (the round's model) and the form (the round's settings); everything else is refused
before a tensor is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.tensorfile import MAX_HEADER_BYTES, TensorReader, serialise

Form = Literal["fp32", "bf16", "int8"]
FORMS: tuple[Form, ...] = get_args(Form)
Float32 = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]

CONTROL = "control"
"""Kind of the tensors that travel beside the model's under SCAFFOLD."""

_SCHEMA = "emr-fl payload 1"
_SCALE = "::scale"
_STORED = {"fp32": "F32", "bf16": "BF16", "int8": "I8"}


@dataclass(frozen=True)
class Packed:
    """The bytes to send and, for the rounded forms, what rounding lost (same names and shapes; empty for fp32)."""

    data: bytes = field(repr=False)
    residual: dict[str, Float32] = field(repr=False)


def beside(kind: str, name: str) -> str:
    """The name of the tensor of `kind` that belongs to the model's tensor `name`."""
    return f"{kind}::{name}"


def pack_tensors(
    tensors: Mapping[str, NDArray[Any]],
    form: Form = "fp32",
    *,
    residual: Mapping[str, Float32] | None = None,
) -> Packed:
    """Named fp32 arrays as bytes; `residual` of the previous round is added first. Same content, same bytes.

    Raises DataError for another dtype, for NaN or infinity (also when rounding to bf16 overflows), for a residual that does
    not fit, and for an unknown form.
    """
    _check_form(form)
    stored: dict[str, NDArray[Any]] = {}
    lost: dict[str, Float32] = {}
    for name, array in tensors.items():
        values = _with_residual(name, array, residual)
        if form == "fp32":
            stored[name] = values
            continue
        if form == "bf16":
            stored[name] = to_bfloat16(values)
            received = from_bfloat16(stored[name])
        else:
            stored[name], stored[name + _SCALE] = quantise(values)
            received = dequantise(stored[name], stored[name + _SCALE])
        _check_finite(name, received)
        lost[name] = np.asarray(values - received)
    if len(stored) != len(tensors) * (2 if form == "int8" else 1):
        raise DataError(tr("tensor names collide", "张量名称冲突"), got=f"*{_SCALE}")
    bf16 = stored.keys() if form == "bf16" else ()
    return Packed(b"".join(serialise(stored, {"schema": _SCHEMA, "form": form}, bf16=list(bf16))), lost)


def unpack_tensors(data: bytes | memoryview, shapes: Shapes, form: Form = "fp32") -> dict[str, Float32]:
    """All tensors of a payload, fresh fp32 arrays; digest, names, shapes, dtypes and finiteness checked (DataError)."""
    with PayloadReader(data, shapes, form) as reader:
        reader.verify()
        return {name: reader.read(name) for name in shapes}


def max_payload_bytes(shapes: Shapes, form: Form) -> int:
    """No valid payload of these shapes is larger; cheap to compare before anything is parsed."""
    width = {"fp32": 4, "bf16": 2, "int8": 1}[form]
    total = 8 + MAX_HEADER_BYTES
    for shape in shapes.values():
        size = 1
        for side in shape:
            size *= side
        total += width * size + (4 * max(_scale_shape(shape), default=1) if form == "int8" else 0)
    return total


class PayloadReader:
    """A payload opened from bytes or a file and checked for names, shapes, dtypes and size; tensors are read one by one."""

    def __init__(self, source: bytes | memoryview | Path, shapes: Shapes, form: Form) -> None:
        _check_form(form)
        self.form: Form = form
        self.shapes = dict(shapes)
        self._reader = TensorReader(source, max_bytes=max_payload_bytes(shapes, form))
        try:
            self._check_layout()
        except BaseException:
            self._reader.close()
            raise

    def __enter__(self) -> PayloadReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    def verify(self) -> None:
        """Compare the digest with the content, DataError when it differs."""
        self._reader.verify()

    def read(self, name: str) -> Float32:
        """One tensor as a fresh, writable fp32 array. Raises DataError when it holds NaN or infinity."""
        if name not in self.shapes:
            raise KeyError(name)
        stored = self._reader.read(name)
        if self.form == "int8":
            scale = self._reader.read(name + _SCALE)
            if not (np.isfinite(scale) & (scale >= 0)).all():
                raise DataError(tr("scales must be finite and ≥ 0", "缩放因子必须为有限非负数"), where=name)
            values = dequantise(stored, scale)
        elif self.form == "bf16":
            values = from_bfloat16(stored)
        else:
            values = stored
        _check_finite(name, values)
        return values

    def _check_layout(self) -> None:
        metadata = self._reader.metadata
        if metadata.get("schema") != _SCHEMA or metadata.get("form") != self.form:
            raise DataError(
                tr("another kind of payload", "载荷类型不符"),
                got=repr(metadata.get("form"))[:40],
                expected=f"{_SCHEMA}, {self.form}",
            )
        expected = {name: (_STORED[self.form], shape) for name, shape in self.shapes.items()}
        if self.form == "int8":
            expected |= {name + _SCALE: ("F32", _scale_shape(shape)) for name, shape in self.shapes.items()}
        found = {name: (place.dtype, place.shape) for name, place in self._reader.places.items()}
        missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        if missing or unknown:
            raise DataError(
                tr("the tensors are not those of the round's model", "张量与本轮模型不符"),
                got=tr(
                    f"{len(missing)} missing, {len(unknown)} unknown", f"缺 {len(missing)},多 {len(unknown)}"
                ),
                expected=", ".join((missing or sorted(expected))[:3]),
            )
        for name, (dtype, shape) in expected.items():
            if found[name] != (dtype, tuple(shape)):
                raise DataError(
                    tr("wrong shape or type", "形状或类型不符"),
                    where=name,
                    got=f"{found[name][0]} {found[name][1]}",
                    expected=f"{dtype} {tuple(shape)}",
                )


def squared_norm(tensor: Float32) -> float:
    """Σ v² in float64: the largest fp32 squared does not overflow there."""
    flat = tensor.reshape(-1)
    total = 0.0
    for begin in range(
        0, flat.size, 2**20
    ):  # widened in pieces, so that no second tensor of twice the size appears
        piece = flat[begin : begin + 2**20].astype(np.float64)
        total += float(piece @ piece)
    return total


def moved_rows(reader: PayloadReader, label_tensors: Sequence[str]) -> NDArray[np.bool_]:
    """bool [K]: labels whose output row the update moved — its site masks the others out of its loss. [0] without such tensors."""
    moved: NDArray[np.bool_] | None = None
    for name in label_tensors:
        tensor = reader.read(name)
        rows = (tensor.reshape(tensor.shape[0], -1) != 0).any(axis=1)
        moved = rows if moved is None else moved | rows
    return moved if moved is not None else np.zeros(0, dtype=np.bool_)


def to_bfloat16(values: Float32) -> NDArray[np.uint16]:
    """The upper 16 bits of finite fp32 values, rounded to nearest, ties to even."""
    bits = values.view(np.uint32)
    return np.asarray((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, dtype=np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> Float32:
    """bfloat16 bits as fp32, exact."""
    widened: Float32 = np.asarray(np.asarray(bits).astype(np.uint32) << 16).view(np.float32)
    return widened


def quantise(values: Float32) -> tuple[NDArray[np.int8], Float32]:
    """int8 values within ±127 and scales fp32: one a row, shape (rows,), or one, shape (), for fewer than two dimensions."""
    rows = _rows(values)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    scale = (largest / np.float32(127.0)).astype(np.float32)
    # a row of zeros, or one so small that its scale is 0, becomes zeros and goes into the residual
    divisor = np.where(scale > 0, scale, np.float32(np.inf))
    levels = np.clip(np.rint(rows / divisor[:, None]), -127, 127).astype(np.int8)
    return levels.reshape(values.shape), scale.reshape(_scale_shape(values.shape))


def dequantise(levels: NDArray[np.int8], scale: Float32) -> Float32:
    """levels · scale, row by row, as fp32."""
    rows = _rows(levels.astype(np.float32))
    return (rows * scale.reshape(-1, 1)).astype(np.float32, copy=False).reshape(levels.shape)


def _rows(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim < 2:
        return array.reshape(1, -1)
    return array.reshape(array.shape[0], array.size // array.shape[0] if array.shape[0] else 0)


def _scale_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0],) if len(shape) >= 2 else ()


def _with_residual(name: str, array: NDArray[Any], residual: Mapping[str, Float32] | None) -> Float32:
    values = np.asarray(array)
    if values.dtype != np.float32:
        raise DataError(tr("only fp32 tensors travel", "仅支持 fp32 张量"), where=name, got=str(values.dtype))
    if residual:
        if name not in residual or residual[name].shape != values.shape:
            raise DataError(
                tr("the residual does not fit the model", "残差与模型不符"),
                where=name,
                do=tr("drop it and start without one", "丢弃残差后重新开始"),
            )
        values = values + residual[name]
    values = np.ascontiguousarray(values).reshape(values.shape)
    _check_finite(name, values)
    return values


def _check_finite(name: str, values: Float32) -> None:
    wrong = int(values.size - np.isfinite(values).sum())
    if wrong:
        raise DataError(
            tr("values that are not numbers (NaN or infinite)", "存在非数值(NaN 或无穷)"),
            where=name,
            got=f"{wrong} / {values.size}",
        )


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise DataError(
            tr("unknown payload form", "未知的载荷格式"), got=repr(form)[:40], expected=" | ".join(FORMS)
        )
