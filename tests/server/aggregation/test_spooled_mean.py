"""Spooled updates: checked before they are stored, folded in one order whatever the order of arrival."""

from __future__ import annotations

import errno
import itertools
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_server.aggregation import Means, Spool, SpooledUpdate, advance, check_tensors, compare_norms
from emr_fl_server.aggregation.fedavg import FedAvg
from emr_fl_shared import durable
from emr_fl_shared.errors import DataError, FederationError, StorageError
from emr_fl_shared.payload import FORMS, Form, pack_tensors, unpack_tensors
from emr_fl_shared.tensorfile import serialise

SHAPES = {"encoder.weight": (6, 4), "head.weight": (5, 4), "head.bias": (5,), "scalar": ()}
SITES = ["甲医院", "hospital-b", "hospital-c", "../d"]
WEIGHTS = {"甲医院": 300.0, "hospital-b": 1000.0, "hospital-c": 50.0, "../d": 70.0}


def update(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def spooled(folder: Path, order: list[str] = SITES, form: Form = "fp32") -> Spool:
    spool = Spool(folder, SHAPES, form)
    for site in order:
        spool.accept(site, pack_tensors(update(SITES.index(site)), form).data, WEIGHTS[site])
    return spool


def weighted_mean(updates: Sequence[SpooledUpdate], **rows: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mean of one tensor after the other."""
    means = Means(updates, **rows)
    for name in sorted(means.shapes):
        yield name, means.of(name)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("form", FORMS)
def test_mean_agrees_with_numpy(tmp_path: Path, form: Form) -> None:
    spool = spooled(tmp_path, form=form)
    received = [unpack_tensors(pack_tensors(update(i), form).data, SHAPES, form) for i in range(4)]
    total = sum(WEIGHTS.values())
    mean = dict(weighted_mean(spool.updates))
    assert sorted(mean) == sorted(SHAPES)
    for name in SHAPES:
        expected = sum(
            WEIGHTS[s] / total * u[name].astype(np.float64) for s, u in zip(SITES, received, strict=True)
        )
        assert mean[name].dtype == np.float32 and mean[name].shape == SHAPES[name]
        np.testing.assert_allclose(mean[name], expected, atol=1e-6)


def test_by_hand(tmp_path: Path) -> None:
    spool = Spool(tmp_path, {"w": (2,)}, "fp32")
    spool.accept("a", pack_tensors({"w": np.array([4.0, 0.0], np.float32)}).data, 1)
    spool.accept("b", pack_tensors({"w": np.array([0.0, 8.0], np.float32)}).data, 3)
    model = {"w": np.array([10.0, 20.0], np.float32)}
    np.testing.assert_array_equal(advance(FedAvg(), model, {}, spool.updates)[0]["w"], [11.0, 26.0])
    np.testing.assert_array_equal(model["w"], [10.0, 20.0])


def test_order_of_arrival_changes_no_bit(tmp_path: Path) -> None:
    """The sums are such that fp32 addition in another order gives other bits: checked, or the test would be empty."""
    results = set()
    for index, order in enumerate(itertools.permutations(SITES)):
        spool = spooled(tmp_path / str(index), list(order))
        mean = dict(weighted_mean(tuple(reversed(spool.updates)) if index % 2 else spool.updates))
        results.add(b"".join(mean[name].tobytes() for name in sorted(mean)))
    assert len(results) == 1
    shares = {site: np.float32(WEIGHTS[site] / sum(WEIGHTS.values())) for site in SITES}
    sums = set()
    for order in itertools.permutations(range(4)):
        total = np.zeros((6, 4), np.float32)
        for i in order:
            total += update(i)["encoder.weight"] * shares[SITES[i]]
        sums.add(total.tobytes())
    assert len(sums) > 1


def test_rows_are_averaged_over_the_sites_that_have_the_label(tmp_path: Path) -> None:
    spool = spooled(tmp_path)
    masks = {site: np.ones(5, bool) for site in SITES}
    masks["甲医院"][1] = False
    masks["hospital-b"][1] = False
    for site in SITES:
        masks[site][2] = False  # nobody has label 2
        masks[site][3] = site == "hospital-c"
    mean = dict(weighted_mean(spool.updates, row_masks=masks, row_tensors=("head.weight", "head.bias")))
    plain = dict(weighted_mean(spool.updates))
    for name in ("encoder.weight", "scalar"):
        np.testing.assert_array_equal(mean[name], plain[name])
    for name in ("head.weight", "head.bias"):
        for row in range(5):
            holders = [site for site in SITES if masks[site][row]]
            weight = sum(WEIGHTS[site] for site in holders)
            expected = sum(
                (WEIGHTS[s] / weight * update(SITES.index(s))[name][row].astype(np.float64) for s in holders),
                np.zeros_like(mean[name][row], dtype=np.float64),
            )
            np.testing.assert_allclose(mean[name][row], expected, atol=1e-6)
    np.testing.assert_array_equal(mean["head.weight"][2], 0.0)
    np.testing.assert_array_equal(mean["head.bias"][3], update(2)["head.bias"][3])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 1e9), min_size=1, max_size=5), st.integers(0, 1000))
def test_mean_of_equal_updates_is_that_update(
    tmp_path_factory: pytest.TempPathFactory, weights: list[float], seed: int
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), SHAPES, "fp32")
    for index, weight in enumerate(weights):
        spool.accept(f"site-{index}", pack_tensors(update(seed)).data, weight)
    full = {site.site: np.ones(5, bool) for site in spool.updates}
    for mean in (
        dict(weighted_mean(spool.updates)),
        dict(weighted_mean(spool.updates, row_masks=full, row_tensors=("head.weight",))),
    ):
        for name, array in update(seed).items():
            np.testing.assert_allclose(mean[name], array, rtol=1e-5, atol=1e-6)


def test_memory_does_not_grow_with_sites(tmp_path: Path) -> None:
    shapes = {f"layer{i}": (256, 256) for i in range(8)}  # 2 MiB an update, 256 KiB a tensor
    peaks = {}
    for count in (2, 8):
        spool = Spool(tmp_path / str(count), shapes, "fp32")
        for index in range(count):
            spool.accept(f"s{index}", pack_tensors(update(index, shapes)).data, 1.0)
        tracemalloc.start()
        for _ in weighted_mean(spool.updates):
            pass
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[8] < 1.1 * peaks[2] and peaks[8] < 5 * 256 * 1024


def bad_payloads() -> list[object]:
    good = update(0)
    whole = pack_tensors(good).data
    with_nan = {**good, "head.bias": np.full(5, np.nan, np.float32)}
    nan_bytes = b"".join(serialise(with_nan, {"schema": "emr-fl payload 1", "form": "fp32"}))
    return [
        pytest.param(b"", id="empty"),
        pytest.param(whole[:-1], id="truncated"),
        pytest.param(whole[:-1] + bytes([whole[-1] ^ 1]), id="a changed bit"),
        pytest.param(pack_tensors(good, "int8").data, id="another form"),
        pytest.param(pack_tensors({**good, "x": good["scalar"]}).data, id="unknown tensor"),
        pytest.param(pack_tensors({**good, "head.bias": np.zeros(6, np.float32)}).data, id="another shape"),
        pytest.param(nan_bytes, id="nan"),
    ]


@pytest.mark.parametrize("payload", bad_payloads())
def test_refused_updates_leave_nothing_behind(tmp_path: Path, payload: bytes) -> None:
    spool = spooled(tmp_path, SITES[:2])
    before = {path: path.read_bytes() for path in files(tmp_path)}
    with pytest.raises(DataError):
        spool.accept("hospital-c", payload, 10.0)
    assert {path: path.read_bytes() for path in files(tmp_path)} == before
    assert [u.site for u in spool.updates] == sorted(SITES[:2])
    spool.accept("hospital-c", pack_tensors(update(2)).data, 10.0)  # it may try again with a good one


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_weights_that_are_none(tmp_path: Path, weight: float) -> None:
    spool = Spool(tmp_path, SHAPES, "fp32")
    with pytest.raises(FederationError):
        spool.accept("a", pack_tensors(update(0)).data, weight)
    assert not files(tmp_path) and not spool.updates


def test_refuses_a_second_update_of_one_site(tmp_path: Path) -> None:
    spool = spooled(tmp_path)
    stored = spool.updates[0].path.read_bytes()
    with pytest.raises(FederationError):
        spool.accept(spool.updates[0].site, pack_tensors(update(9)).data, 1.0)
    assert spool.updates[0].path.read_bytes() == stored


def test_site_names_choose_no_path(tmp_path: Path) -> None:
    inner = tmp_path / "spool"
    spooled(inner)
    assert len(files(inner)) == 4 and {path.parent for path in files(tmp_path)} == {inner}


def test_discard_clear_and_left_overs(tmp_path: Path) -> None:
    spool = spooled(tmp_path)
    spool.discard("hospital-b")
    assert len(spool.updates) == len(files(tmp_path)) == 3
    (tmp_path / ".half.update.1.part").write_bytes(b"x")
    spooled(tmp_path, ["hospital-c"])  # a new round in the same folder starts empty
    assert len(files(tmp_path)) == 1
    again = spooled(tmp_path)
    again.clear()
    assert not files(tmp_path) and not again.updates
    with pytest.raises(FederationError):
        dict(weighted_mean(again.updates))


def test_disk_full_while_spooling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooled(tmp_path, SITES[:2])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    with pytest.raises(StorageError):
        spool.accept("hospital-c", pack_tensors(update(2)).data, 1.0)
    monkeypatch.undo()
    assert len(spool.updates) == len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    "masks",
    [
        pytest.param({site: np.ones(5, bool) for site in SITES[:3]}, id="a site's mask is missing"),
        pytest.param({site: np.ones(6, bool) for site in SITES}, id="another number of labels"),
        pytest.param({site: np.ones(5) for site in SITES}, id="not bool"),
    ],
)
def test_refuses_masks_that_do_not_fit(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    with pytest.raises(FederationError):
        dict(weighted_mean(spooled(tmp_path).updates, row_masks=masks, row_tensors=("head.bias",)))


def test_refuses_updates_of_another_model(tmp_path: Path) -> None:
    updates = spooled(tmp_path / "a").updates
    other = Spool(tmp_path / "b", {"w": (1,)}, "fp32")
    other.accept("z", pack_tensors({"w": np.ones(1, np.float32)}).data, 1.0)
    with pytest.raises(FederationError):
        dict(weighted_mean((*updates, *other.updates)))
    with pytest.raises(FederationError):
        advance(FedAvg(), {"w": np.zeros(1, np.float32)}, {}, updates)
    with pytest.raises(FederationError):
        dict(weighted_mean((*updates, updates[0])))
    with pytest.raises(FederationError):
        dict(weighted_mean(updates, row_masks=dict.fromkeys(SITES, np.ones(5, bool)), row_tensors=("none",)))


def test_norm_is_that_of_the_whole_difference(tmp_path: Path) -> None:
    tensors = update(3)
    flat = np.concatenate([array.reshape(-1) for array in tensors.values()]).astype(np.float64)
    assert check_tensors(tensors, SHAPES) == pytest.approx(np.linalg.norm(flat), rel=1e-12)
    accepted = Spool(tmp_path, SHAPES, "fp32").accept("a", pack_tensors(tensors).data, 1.0)
    assert accepted.norm == pytest.approx(np.linalg.norm(flat), rel=1e-12)
    huge = {"w": np.full(3, 1e38, np.float32)}
    assert check_tensors(huge, {"w": (3,)}) == pytest.approx(1e38 * np.sqrt(3), rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"scalar": np.float64(1.0)}, id="fp64"),
        pytest.param({"head.bias": np.zeros((5, 1), np.float32)}, id="shape"),
        pytest.param({"head.bias": np.full(5, np.inf, np.float32)}, id="infinite"),
        pytest.param({"more": np.zeros(1, np.float32)}, id="unknown name"),
    ],
)
def test_check_tensors_refuses(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError):
        check_tensors({**update(0), **change}, SHAPES)


def test_norms_are_compared_with_the_others() -> None:
    reports = compare_norms({"a": 1.0, "b": 1.2, "c": 0.8, "d": 50.0})
    assert [site for site, report in reports.items() if report.suspicious] == ["d"]
    assert reports["d"].median_of_others == 1.0 and reports["d"].ratio == 50.0
    assert reports["a"].ratio == pytest.approx(1 / 1.2)
    # a hundred times the others does not hide behind its own weight in the median of two
    assert compare_norms({"a": 1.0, "b": 100.0})["b"].suspicious
    assert not compare_norms({"a": 1.0, "b": 100.0})["a"].suspicious


@pytest.mark.parametrize(
    "norms",
    [pytest.param({"a": 5.0}, id="one site"), pytest.param({"a": 5.0, "b": 0.0}, id="others at zero")],
)
def test_nothing_to_compare_with(norms: dict[str, float]) -> None:
    report = compare_norms(norms)["a"]
    assert report.ratio is None and not report.suspicious
