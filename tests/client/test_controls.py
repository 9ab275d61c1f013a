"""A site's control variates on disk: which one a question finds, and that nobody else can read or mix them up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emr_fl_client.controls import KeptControls
from emr_fl_shared.errors import StorageError

SHAPES = {"w": (2, 3), "scalar": ()}
KEY = b"k" * 32


def control(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value, np.float32) for name, shape in SHAPES.items()}


def kept(folder: Path, *, key: bytes = KEY, run: str = "run") -> KeptControls:
    return KeptControls(folder, key, run)


def value(folder: Path, round_number: int) -> float | None:
    found = kept(folder).before(round_number, SHAPES)
    return None if found is None else float(found["w"][0, 0])


def test_the_newest_of_an_earlier_round_is_found(tmp_path: Path) -> None:
    store = kept(tmp_path / "state")
    assert store.before(1, SHAPES) is None
    store.keep(1, control(1.5))
    store.keep(2, control(2.5))
    assert [value(tmp_path / "state", number) for number in (1, 2, 3, 7)] == [None, 1.5, 2.5, 2.5]
    found = store.before(2, SHAPES)
    assert found is not None
    for name, array in control(1.5).items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_a_repeated_round_replaces_its_own_and_what_came_after(tmp_path: Path) -> None:
    """The coordinator went back to round 2: what rounds 3 and 4 once left must not be found from there on."""
    store = kept(tmp_path)
    for number in (1, 2, 3, 4):
        store.keep(number, control(number))
    store.keep(2, control(20.0))
    assert [value(tmp_path, number) for number in (3, 4, 5, 9)] == [20.0] * 4


def test_the_last_three_stay(tmp_path: Path) -> None:
    store = kept(tmp_path)
    for number in range(1, 7):
        store.keep(number, control(number))
    assert [value(tmp_path, number) for number in (4, 5, 6, 7)] == [None, 4.0, 5.0, 6.0]
    assert len(list(tmp_path.iterdir())) == 3
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param({"run": "another"}, id="another run"),
        pytest.param({"key": b"x" * 32}, id="another key"),
    ],
)
def test_another_run_and_another_key_find_nothing(tmp_path: Path, reader: dict[str, object]) -> None:
    kept(tmp_path).keep(1, control(1.0))
    assert kept(tmp_path, **reader).before(2, SHAPES) is None  # type: ignore[arg-type]


def test_another_model_finds_nothing(tmp_path: Path) -> None:
    kept(tmp_path).keep(1, control(1.0))
    assert kept(tmp_path).before(2, {"w": (3, 3), "scalar": ()}) is None
    assert kept(tmp_path).before(2, {"v": (2, 3), "scalar": ()}) is None


def test_no_torn_and_no_changed_file_is_believed(tmp_path: Path) -> None:
    kept(tmp_path).keep(1, control(1.0))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert value(tmp_path, 2) is None, length
    path.write_bytes(whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:])
    assert value(tmp_path, 2) is None
    path.write_bytes(whole)
    assert value(tmp_path, 2) == 1.0


def test_the_file_does_not_show_its_numbers(tmp_path: Path) -> None:
    array = {"w": np.arange(6, dtype=np.float32).reshape(2, 3) + 1.25, "scalar": np.zeros((), np.float32)}
    kept(tmp_path).keep(1, array)
    (path,) = tmp_path.iterdir()
    assert array["w"].tobytes() not in path.read_bytes()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    with pytest.raises(StorageError):
        kept(tmp_path / "state").keep(1, control(1.0))
