"""The safetensors format, written and read a tensor at a time, with a digest over all of it.

Files are plain safetensors (8 bytes of header length, a JSON header, the tensors): any safetensors reader opens them.
Own code because the library's writer copies all tensors at once, its memory-mapped reader keeps every touched page
resident, and its parser has no limits to set; memory on the server must not grow with sites or models. The
digest (SHA-256 over the canonical header and the data) stands in the header's metadata.

Reading is strict: unknown dtypes, duplicate names, gaps, overlaps, trailing bytes and over-long headers are refused
before a tensor is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

MAX_HEADER_BYTES = 4 * 2**20
MAX_TENSORS = 20_000
_DIGEST = "sha256"
_METADATA = "__metadata__"
_BLOCK = 4 * 2**20

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # numpy has no bfloat16: read and written as its 16 bits
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in the data, and what it is. `dtype` is safetensors' name (F32, BF16, I8 …)."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def serialise(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], *, bf16: Collection[str] = ()
) -> Iterator[bytes | memoryview]:
    """The file's bytes in pieces: header, then each tensor without a copy. Same content, same bytes.

    `bf16` names the uint16 arrays that hold bfloat16 bits. Raises DataError for a dtype the format does not have.
    """
    places: dict[str, TensorPlace] = {}
    arrays: dict[str, NDArray[Any]] = {}
    offset = 0
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes a scalar 1-D
        arrays[name] = array
        places[name] = TensorPlace(_dtype_name(name, array, bf16), array.shape, offset, offset + array.nbytes)
        offset += array.nbytes
    # Larger elements first, as safetensors orders them, so that every tensor is aligned when it is mapped.
    order = sorted(places, key=lambda name: (-_DTYPES[places[name].dtype].itemsize, name))
    offset = 0
    for name in order:
        place, size = places[name], arrays[name].nbytes
        places[name] = TensorPlace(place.dtype, place.shape, offset, offset + size)
        offset += size

    plain = {key: value for key, value in metadata.items() if key != _DIGEST}
    digest = hashlib.sha256(_header(places, plain))
    for name in order:
        digest.update(_bytes_of(arrays[name]))
    header = _header(places, {**plain, _DIGEST: digest.hexdigest()})
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header
    for name in order:
        yield _bytes_of(arrays[name])


class TensorReader:
    """Reads tensors one at a time from bytes or from a file; use as a context manager.

    `places` (name → place) and `metadata` are known, and the layout is checked, once it is open. `verify` compares the digest.
    """

    def __init__(self, source: bytes | memoryview | Path, *, max_bytes: int | None = None) -> None:
        self._data: memoryview | None = None
        self._descriptor: int | None = None
        if isinstance(source, Path):
            self._descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.fstat(self._descriptor).st_size
        else:
            self._data = memoryview(source).cast("B")
            self._size = len(self._data)
        try:
            if max_bytes is not None and self._size > max_bytes:
                raise _damaged("larger than allowed", "超过允许大小", f"{self._size} B", f"≤ {max_bytes} B")
            header = self._read_header()
            self._start = 8 + len(header)
            self.metadata, self.places = _parse_header(header, self._size - self._start)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; the reader can't be used afterwards."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._data = None

    def verify(self) -> None:
        """Read everything once in blocks of 4 MiB and compare the digest. Raises DataError when it differs or is absent."""
        plain = {key: value for key, value in self.metadata.items() if key != _DIGEST}
        digest = hashlib.sha256(_header(self.places, plain))
        for begin in range(self._start, self._size, _BLOCK):
            digest.update(self._bytes_at(begin, min(_BLOCK, self._size - begin)))
        if digest.hexdigest() != self.metadata.get(_DIGEST):
            raise _damaged("digest differs from the content", "摘要与内容不符")

    def read(self, name: str) -> NDArray[Any]:
        """One tensor, a fresh writable array of its stored dtype (uint16 bits for BF16). KeyError for an unknown name."""
        place = self.places[name]
        array: NDArray[Any] = np.empty(place.shape, dtype=_DTYPES[place.dtype])
        self._read_into(self._start + place.begin, array.reshape(-1).view(np.uint8).data)
        return array

    def _read_header(self) -> bytes:
        if self._size < 8:
            raise _damaged("too short", "长度不足", f"{self._size} B")
        length = int.from_bytes(self._bytes_at(0, 8), "little")
        if length > MAX_HEADER_BYTES or length > self._size - 8:
            raise _damaged("header longer than allowed or than the file", "头部超长", f"{length} B")
        return self._bytes_at(8, length)

    def _bytes_at(self, begin: int, count: int) -> bytes:
        buffer = bytearray(count)
        self._read_into(begin, memoryview(buffer))
        return bytes(buffer)

    def _read_into(self, begin: int, target: memoryview) -> None:
        if self._data is not None:
            target[:] = self._data[begin : begin + len(target)]
            return
        if self._descriptor is None:
            raise ValueError("the reader is closed")
        done = 0
        while done < len(target):
            got = os.preadv(self._descriptor, [target[done:]], begin + done)
            if not got:
                raise _damaged("shorter than its header says", "文件被截断")
            done += got


def _dtype_name(name: str, array: NDArray[Any], bf16: Collection[str]) -> str:
    if name in bf16 and array.dtype == np.uint16:
        return "BF16"
    found = _NAMES.get(array.dtype.newbyteorder("<"))
    if found is None:
        raise DataError(
            tr("a tensor of this type can't be stored", "无法保存此类型的张量"),
            where=name,
            got=str(array.dtype),
            expected=", ".join(str(dtype) for dtype in _NAMES),
        )
    return found


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _header(places: Mapping[str, TensorPlace], metadata: Mapping[str, str]) -> bytes:
    content: dict[str, Any] = {
        name: {"dtype": place.dtype, "shape": list(place.shape), "data_offsets": [place.begin, place.end]}
        for name, place in places.items()
    }
    content[_METADATA] = dict(metadata)
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _parse_header(header: bytes, data_size: int) -> tuple[dict[str, str], dict[str, TensorPlace]]:
    header = header.rstrip(b" ")
    if not header.endswith(b"}"):  # JSON would also take tabs and line breaks as padding
        raise _damaged("header is not an object", "头部不是对象")
    try:
        content = json.loads(header.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):  # also UnicodeDecodeError; the text itself is never shown
        raise _damaged("header is not valid JSON", "头部不是有效的 JSON") from None
    if not isinstance(content, dict):
        raise _damaged("header is not an object", "头部不是对象")
    metadata = content.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged("metadata is not text", "元数据不是文本")
    try:
        "".join([*content, *metadata, *metadata.values()]).encode()
    except UnicodeEncodeError:  # lone surrogates, which JSON can spell and UTF-8 can't
        raise _damaged("text that is not Unicode", "文本不是有效的 Unicode") from None
    if len(content) > MAX_TENSORS:
        raise _damaged("too many tensors", "张量过多", str(len(content)), f"≤ {MAX_TENSORS}")
    places = {name: _parse_place(entry) for name, entry in content.items()}
    end = 0
    for place in sorted(places.values(), key=lambda place: (place.begin, place.end)):
        if place.begin != end:
            raise _damaged("tensors overlap or leave a gap", "张量重叠或有空隙")
        end = place.end
    if end != data_size:
        raise _damaged("truncated or with trailing bytes", "被截断或尾部多余", f"{data_size} B", f"{end} B")
    return metadata, places


def _parse_place(entry: object) -> TensorPlace:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged("malformed tensor entry", "张量条目格式错误")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _damaged("unknown tensor type", "未知张量类型", expected=", ".join(_DTYPES))
    if not _counts(shape) or len(shape) > 8 or not _counts(offsets) or len(offsets) != 2:
        raise _damaged("malformed shape or offsets", "形状或偏移格式错误")
    size = _DTYPES[dtype].itemsize
    for side in shape:
        size *= side
    if offsets[1] - offsets[0] != size:
        raise _damaged("shape and size disagree", "形状与大小不符")
    return TensorPlace(dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(side) is int and 0 <= side < 2**48 for side in value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _damaged(en: str, zh: str, got: str = "", expected: str = "") -> DataError:
    return DataError(
        tr("not a valid tensor file: ", "不是有效的张量文件:") + tr(en, zh), got=got, expected=expected
    )
