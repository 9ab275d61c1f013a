"""Payloads: round trips, error bounds, error feedback, and refusal of whatever is not the round's model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emr_fl_shared.errors import DataError
from emr_fl_shared.payload import (
    FORMS,
    Form,
    PayloadReader,
    from_bfloat16,
    max_payload_bytes,
    pack_tensors,
    pack_within,
    quantise,
    to_bfloat16,
    unpack_tensors,
)
from emr_fl_shared.tensorfile import serialise

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**120), max_value=2.0**120)
TENSORS = st.dictionaries(
    st.sampled_from(["encoder.weight", "encoder.bias", "classifier.weight", "logit"]),
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6), elements=FINITE),
    max_size=4,
)


def shapes_of(tensors: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


def example() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "classifier.weight": generator.normal(0, 1e-3, (5, 8)).astype(np.float32),
        "classifier.bias": generator.normal(0, 1e-2, 5).astype(np.float32),
    }


@settings(max_examples=100, deadline=None)
@given(TENSORS, st.sampled_from(FORMS))
def test_round_trip_within_the_bound_of_its_form(tensors: dict[str, np.ndarray], form: Form) -> None:
    packed = pack_tensors(tensors, form)
    received = unpack_tensors(packed.data, shapes_of(tensors), form)
    assert list(received) == list(tensors)
    assert len(packed.data) <= max_payload_bytes(shapes_of(tensors), form)
    for name, array in tensors.items():
        got, error = received[name], np.abs(received[name].astype(np.float64) - array)
        assert got.dtype == np.float32 and got.shape == array.shape
        if form == "fp32":
            assert got.tobytes() == array.tobytes()
            assert not packed.residual
            continue
        if form == "bf16":
            assert (error <= np.abs(array.astype(np.float64)) * 2.0**-8 + 2.0**-133).all()
        else:
            rows = (
                error.reshape(array.shape[0], -1) if array.ndim > 1 and array.size else error.reshape(1, -1)
            )
            largest = np.abs(array.astype(np.float64)).reshape(rows.shape).max(axis=1, initial=0.0)
            # half a step; the last bits are those of the scale's own rounding, 2^-140 that of denormals
            bound = largest / 127 * (0.5 + 1e-4) + 2.0**-140
            assert (rows <= bound[:, None]).all()
        np.testing.assert_array_equal(packed.residual[name], array - got)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, 20, elements=FINITE))
def test_bfloat16_agrees_with_torch(values: np.ndarray) -> None:
    expected = torch.from_numpy(values).to(torch.bfloat16)
    np.testing.assert_array_equal(to_bfloat16(values), expected.view(torch.uint16).numpy())
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(values)), expected.float().numpy())


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        pytest.param(1 + 2**-8, 1.0, id="tie goes down to even"),
        pytest.param(1 + 3 * 2**-8, 1 + 2**-6, id="tie goes up to even"),
        pytest.param(1 + 2**-8 + 2**-20, 1 + 2**-7, id="above the tie goes up"),
        pytest.param(-0.0, -0.0, id="sign of zero"),
    ],
)
def test_bfloat16_by_hand(value: float, rounded: float) -> None:
    got = from_bfloat16(to_bfloat16(np.array([value], np.float32)))[0]
    assert got == rounded and np.signbit(got) == np.signbit(rounded)


def test_int8_by_hand() -> None:
    levels, scale = quantise(np.array([[127.0, -63.6, 0.4], [0.0, 0.0, 0.0], [2.54, 1.0, -2.54]], np.float32))
    np.testing.assert_array_equal(levels, [[127, -64, 0], [0, 0, 0], [127, 50, -127]])
    np.testing.assert_allclose(scale, [1.0, 0.0, 0.02], rtol=1e-6)
    vector, one_scale = quantise(np.array([0.5, -2.0], np.float32))
    assert one_scale.shape == () and vector.tolist() == [32, -127]


def test_sizes_on_the_wire() -> None:
    tensors = {"w": np.random.default_rng(0).normal(size=(1000, 256)).astype(np.float32)}
    sizes = {form: len(pack_tensors(tensors, form).data) for form in FORMS}
    assert sizes["fp32"] < 1_024_000 + 500 and sizes["bf16"] < 512_000 + 500 and sizes["int8"] < 260_000 + 500


@pytest.mark.parametrize("form", ["bf16", "int8"])
def test_error_feedback_loses_nothing_over_rounds(form: Form) -> None:
    """The sum of what arrived differs from the sum of what was meant by the last residual only, not by one per round."""
    generator = np.random.default_rng(1)
    meant, arrived, blind = np.zeros((4, 50)), np.zeros((4, 50)), np.zeros((4, 50))
    residual: dict[str, np.ndarray] = {}
    constant = generator.normal(0, 1, (4, 50)).astype(np.float32)  # the same small error again and again
    for _ in range(30):
        packed = pack_tensors({"w": constant}, form, residual=residual)
        arrived += unpack_tensors(packed.data, {"w": (4, 50)}, form)["w"]
        blind += unpack_tensors(pack_tensors({"w": constant}, form).data, {"w": (4, 50)}, form)["w"]
        meant, residual = meant + constant, packed.residual
    np.testing.assert_allclose(arrived + residual["w"], meant, atol=1e-4)
    assert np.abs(arrived - meant).max() < np.abs(blind - meant).max() / 5


def norm_of(tensors: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in tensors.values())))


MODERATE = st.floats(width=32, allow_nan=False, min_value=-(2.0**20), max_value=2.0**20)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=MODERATE),
    st.sampled_from(FORMS),
    st.floats(1e-3, 1e3),
)
def test_what_is_received_is_never_above_the_norm(array: np.ndarray, form: Form, limit: float) -> None:
    tensors = {"w": array}
    packed, scale = pack_within([tensors], limit, form)
    received = unpack_tensors(packed.data, shapes_of(tensors), form)
    assert norm_of(received) <= limit * (1 + 1e-6)
    if scale == 1.0:
        assert packed.data == pack_tensors(tensors, form).data
        assert norm_of(tensors) <= limit * (1 + 1e-12)
    else:
        assert 0 < scale < 1 and norm_of(tensors) > limit * (1 - 1e-12)
        assert form == "int8" or norm_of(received) > 0.45 * limit
        if packed.residual:  # nothing but rounding is left over: what was cut off is not sent later
            np.testing.assert_allclose(
                received["w"] + packed.residual["w"], array * np.float32(scale), rtol=1e-6, atol=1e-30
            )


@pytest.mark.parametrize("form", FORMS)
def test_groups_are_scaled_apart_and_without_a_limit_not_at_all(form: Form) -> None:
    first, second = {"w": np.full((2, 8), 3.0, np.float32)}, {"c": np.full((2, 8), 0.1, np.float32)}
    whole = pack_tensors({**first, **second}, form).data
    packed, scale = pack_within([first, second], None, form)
    assert (packed.data, scale) == (whole, 1.0)
    packed, scale = pack_within([first, second], 6.0, form)
    received = unpack_tensors(packed.data, shapes_of({**first, **second}), form)
    assert scale == pytest.approx(0.5, rel=0.01)
    np.testing.assert_allclose(received["w"], 1.5, rtol=0.01)
    np.testing.assert_allclose(received["c"], 0.1, rtol=0.01)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(FORMS))
def test_any_change_is_refused(data: st.DataObject, form: Form) -> None:
    whole = pack_tensors(example(), form).data
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    with pytest.raises(DataError):
        unpack_tensors(damaged, shapes_of(example()), form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "expected",
    [
        pytest.param({"classifier.weight": (5, 8)}, id="a tensor too many"),
        pytest.param(
            {"classifier.weight": (5, 8), "classifier.bias": (5,), "x": (1,)}, id="a tensor missing"
        ),
        pytest.param({"classifier.weight": (8, 5), "classifier.bias": (5,)}, id="transposed"),
        pytest.param({"classifier.weight": (40,), "classifier.bias": (5,)}, id="flattened"),
        pytest.param({"other": (5, 8), "classifier.bias": (5,)}, id="another name"),
    ],
)
def test_refuses_another_model(form: Form, expected: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(DataError):
        unpack_tensors(pack_tensors(example(), form).data, expected, form)


@pytest.mark.parametrize("sent", FORMS)
@pytest.mark.parametrize("agreed", FORMS)
def test_refuses_another_form_than_agreed(sent: Form, agreed: Form) -> None:
    data = pack_tensors(example(), sent).data
    if sent == agreed:
        assert unpack_tensors(data, shapes_of(example()), agreed)
    else:
        with pytest.raises(DataError):
            unpack_tensors(data, shapes_of(example()), agreed)


def hostile(form: Form, **tensors: np.ndarray) -> bytes:
    bf16 = ["w"] if form == "bf16" else []
    return b"".join(serialise(tensors, {"schema": "emr-fl payload 1", "form": form}, bf16=bf16))


@pytest.mark.parametrize(
    ("form", "data"),
    [
        pytest.param("fp32", hostile("fp32", w=np.array([1, np.nan], np.float32)), id="fp32 nan"),
        pytest.param("fp32", hostile("fp32", w=np.array([1, 2], np.float64)), id="fp64"),
        pytest.param("bf16", hostile("bf16", w=np.array([1, 0x7F80], np.uint16)), id="bf16 infinity"),
        pytest.param(
            "int8",
            hostile("int8", w=np.ones(2, np.int8), **{"w::scale": np.array(np.nan, np.float32)}),
            id="int8 nan scale",
        ),
        pytest.param(
            "int8",
            hostile("int8", w=np.ones(2, np.int8), **{"w::scale": np.array(-1, np.float32)}),
            id="int8 negative scale",
        ),
        pytest.param(
            "int8",
            hostile("int8", w=np.full(2, 127, np.int8), **{"w::scale": np.array(3e38, np.float32)}),
            id="int8 overflows",
        ),
        pytest.param("int8", hostile("int8", w=np.ones(2, np.int8)), id="int8 without scale"),
        pytest.param(
            "int8",
            hostile("int8", w=np.ones(2, np.int8), **{"w::scale": np.ones(2, np.float32)}),
            id="int8 scales too many",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_refuses_well_formed_but_hostile_content(form: Form, data: bytes) -> None:
    with pytest.raises(DataError):
        unpack_tensors(data, {"w": (2,)}, form)


def test_refuses_by_size_alone_before_parsing() -> None:
    limit = max_payload_bytes({"w": (2,)}, "fp32")
    with pytest.raises(DataError, match=str(limit)):
        unpack_tensors(b"\0" * (limit + 1), {"w": (2,)}, "fp32")


@pytest.mark.parametrize(
    ("tensors", "form", "residual"),
    [
        pytest.param({"w": np.array([np.inf], np.float32)}, "fp32", None, id="infinite"),
        pytest.param({"w": np.array([1.0])}, "fp32", None, id="fp64"),
        pytest.param({"w": np.array([3.4e38], np.float32)}, "bf16", None, id="rounds to infinity in bf16"),
        pytest.param(
            {"w": np.ones(2, np.float32)}, "int8", {"w": np.ones(3, np.float32)}, id="other residual"
        ),
        pytest.param(
            {"w": np.ones(2, np.float32)}, "int8", {"v": np.ones(2, np.float32)}, id="residual missing"
        ),
        pytest.param({"w": np.ones(2, np.float32)}, "fp16", None, id="unknown form"),
        pytest.param(
            {"w": np.ones(2, np.float32), "w::scale": np.ones(1, np.float32)},
            "int8",
            None,
            id="name collides",
        ),
    ],
)
def test_sender_refuses(
    tensors: dict[str, np.ndarray], form: Form, residual: dict[str, np.ndarray] | None
) -> None:
    with pytest.raises(DataError):
        pack_tensors(tensors, form, residual=residual)


def test_reader_opens_files_and_reads_one_tensor(tmp_path: Path) -> None:
    tensors, path = example(), tmp_path / "update"
    path.write_bytes(pack_tensors(tensors, "int8").data)
    with PayloadReader(path, shapes_of(tensors), "int8") as reader:
        reader.verify()
        whole = unpack_tensors(path.read_bytes(), shapes_of(tensors), "int8")
        np.testing.assert_array_equal(reader.read("classifier.bias"), whole["classifier.bias"])
        with pytest.raises(KeyError):
            reader.read("classifier.bias::scale")


def test_packing_leaves_the_input_alone_and_is_deterministic() -> None:
    tensors = example()
    before = {name: array.copy() for name, array in tensors.items()}
    first = pack_tensors(tensors, "int8")
    second = pack_tensors(dict(reversed(tensors.items())), "int8")
    assert first.data == second.data
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, before[name])
    assert "data" not in repr(first)
