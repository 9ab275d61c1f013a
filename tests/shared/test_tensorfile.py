"""The tensor file: readable by the safetensors library, strict about everything that is not one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emr_fl_shared.errors import DataError
from emr_fl_shared.tensorfile import MAX_HEADER_BYTES, TensorReader, serialise

DTYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "?"]
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda s: s.isprintable() and s != "__metadata__"),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    ),
    max_size=5,
)


def packed(tensors: dict[str, np.ndarray], **metadata: str) -> bytes:
    return b"".join(serialise(tensors, metadata))


def with_header(change: object, data: bytes = b"\0" * 8) -> bytes:
    header = change if isinstance(change, bytes) else json.dumps(change).encode()
    return len(header).to_bytes(8, "little") + header + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@settings(max_examples=80, deadline=None)
@given(ARRAYS, st.dictionaries(st.sampled_from(["a", "备注"]), st.text(max_size=8), max_size=2))
def test_round_trip_here_and_in_the_library(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    data = b"".join(serialise(tensors, metadata))
    with TensorReader(data) as reader:
        reader.verify()
        assert set(reader.places) == set(tensors)
        assert {key: reader.metadata[key] for key in metadata} == metadata
        for name, array in tensors.items():
            read = reader.read(name)
            assert read.dtype == array.dtype and read.shape == array.shape
            assert read.tobytes() == np.ascontiguousarray(array).tobytes()  # NaN bits too
    for name, array in safetensors.numpy.load(data).items():
        assert array.tobytes() == np.ascontiguousarray(tensors[name]).tobytes()


def test_same_content_same_bytes_in_any_order() -> None:
    tensors = {"b": np.arange(3.0), "a": np.ones((2, 2), np.float32)}
    assert packed(tensors, x="1", y="2") == packed(dict(reversed(tensors.items())), y="2", x="1")


def test_bfloat16_bits_open_as_bfloat16_elsewhere() -> None:
    values = torch.tensor([1.0, -2.5, 3e38], dtype=torch.bfloat16)
    data = b"".join(serialise({"w": values.view(torch.uint16).numpy()}, {}, bf16=["w"]))
    assert torch.equal(safetensors.torch.load(data)["w"], values)


def test_reads_what_the_library_writes() -> None:
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "flag": np.array([True, False])}
    with TensorReader(safetensors.numpy.save(tensors)) as reader:
        np.testing.assert_array_equal(reader.read("w"), tensors["w"])
        np.testing.assert_array_equal(reader.read("flag"), tensors["flag"])
        with pytest.raises(DataError):  # but it carries no digest of ours
            reader.verify()


def test_files_and_bytes_read_alike_and_arrays_are_fresh(tmp_path: Path) -> None:
    data = packed({"w": np.arange(1000, dtype=np.float32)})
    path = tmp_path / "t.safetensors"
    path.write_bytes(data)
    with TensorReader(path) as reader:
        reader.verify()
        first = reader.read("w")
        first += 1
        np.testing.assert_array_equal(reader.read("w"), np.arange(1000, dtype=np.float32))
    with pytest.raises(KeyError), TensorReader(data) as reader:
        reader.read("v")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_or_length_is_refused(data: st.DataObject) -> None:
    whole = packed({"w": np.arange(5, dtype=np.float32), "b": np.arange(3, dtype=np.int8)}, note="x")
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
        damaged = whole[:place] + bytes([byte]) + whole[place + 1 :]
        if damaged == whole:
            return
    with pytest.raises(DataError), TensorReader(damaged) as reader:
        reader.verify()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x08\0\0\0", id="half a length"),
        pytest.param(
            (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{" * (MAX_HEADER_BYTES + 1), id="huge header"
        ),
        pytest.param((2**63).to_bytes(8, "little") + b"{}", id="header longer than the file"),
        pytest.param(with_header(b"{", b""), id="broken json"),
        pytest.param(with_header(b"[" * 100_000, b""), id="deeply nested json"),
        pytest.param(with_header(b"\xff\xfe", b""), id="not utf-8"),
        pytest.param(with_header([], b""), id="a list"),
        pytest.param(with_header(b"{}\t", b""), id="padded with a tab"),
        pytest.param(with_header({"w": ENTRY}, b"\0" * 9), id="trailing byte"),
        pytest.param(with_header({"w": ENTRY}, b"\0" * 7), id="missing byte"),
        pytest.param(with_header({"w": ENTRY | {"dtype": "F128"}}), id="unknown dtype"),
        pytest.param(with_header({"w": ENTRY | {"dtype": ["F32"]}}), id="dtype is a list"),
        pytest.param(with_header({"w": ENTRY | {"shape": [3]}}), id="shape and size disagree"),
        pytest.param(with_header({"w": ENTRY | {"shape": [-2]}}), id="negative side"),
        pytest.param(with_header({"w": ENTRY | {"shape": [2.0]}}), id="fractional side"),
        pytest.param(with_header({"w": ENTRY | {"shape": [True, 2]}}), id="truth value as side"),
        pytest.param(with_header({"w": ENTRY | {"shape": [2**60, 2**60]}}), id="overflowing shape"),
        pytest.param(with_header({"w": ENTRY | {"extra": 1}}), id="extra field"),
        pytest.param(with_header({"w": ENTRY, "v": ENTRY}), id="overlapping tensors"),
        pytest.param(
            with_header({"w": ENTRY | {"data_offsets": [8, 16]}}, b"\0" * 16), id="gap before a tensor"
        ),
        pytest.param(
            with_header(b'{"w":' + json.dumps(ENTRY).encode() + b',"w":' + json.dumps(ENTRY).encode() + b"}"),
            id="duplicate name",
        ),
        pytest.param(with_header({"__metadata__": {"a": 1}}, b""), id="metadata is a number"),
        pytest.param(with_header({"__metadata__": [1]}, b""), id="metadata is a list"),
        pytest.param(with_header(b'{"\\ud800":' + json.dumps(ENTRY).encode() + b"}"), id="lone surrogate"),
    ],
)
def test_refuses_before_reading_a_tensor(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(DataError):
            TensorReader(source)


def test_refuses_more_than_the_limit_and_unknown_types() -> None:
    data = packed({"w": np.zeros(10, np.float32)})
    with pytest.raises(DataError):
        TensorReader(data, max_bytes=len(data) - 1)
    TensorReader(data, max_bytes=len(data)).close()
    for array in (np.zeros(2, complex), np.array(["text"]), np.zeros(2, np.uint16)):
        with pytest.raises(DataError):
            packed({"w": array})


def test_a_file_cut_after_opening_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(packed({"w": np.zeros(1000, np.float32)}))
    with TensorReader(path) as reader:
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(DataError):
            reader.read("w")
