"""Checkpoints: exact, torn, cut, changed, disk full, and a writer killed at any instant."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from emr_fl_server.checkpoints import (
    checkpoint_path,
    checkpoint_rounds,
    latest_checkpoint,
    load_best,
    load_checkpoint,
    save_checkpoint,
)
from emr_fl_shared import durable
from emr_fl_shared.errors import DataError, FederationError, StorageError


def tensors_at(round: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(round)
    return {"w": generator.normal(size=(20, 30)).astype(np.float32), "steps": np.array(round)}


def save(folder: Path, *rounds: int, best: tuple[int, ...] = (), keep: int = 2) -> None:
    for round in rounds:
        save_checkpoint(
            folder, round, tensors_at(round), {"round": round, "注": "值"}, best=round in best, keep=keep
        )


def assert_is(folder: Path, round: int) -> None:
    found = load_checkpoint(folder, round)
    assert found.state == {"round": round, "注": "值"}
    for name, array in tensors_at(round).items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


def test_round_trip_of_arrays_and_torch_tensors(tmp_path: Path) -> None:
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).T  # not contiguous
    parameter = torch.nn.Parameter(torch.ones(2))
    state = {"history": [0.1, None, {"a": True}], "score": 1 / 3}
    path = save_checkpoint(tmp_path, 3, {"w": weights, "p": parameter, "i": np.arange(3)}, state)
    found = latest_checkpoint(tmp_path)
    assert found is not None and (found.round, found.path, found.warnings) == (3, path, ())
    assert found.state == state
    assert torch.equal(torch.from_numpy(found.tensors["w"]), weights)
    assert found.tensors["p"].tolist() == [1.0, 1.0] and found.tensors["i"].dtype == np.int64
    assert "0.1" not in repr(found) and "w" not in repr(found).split("path")[0]


def test_nothing_saved_yet(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "notes.txt").write_text("x")
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(FederationError):
        load_best(tmp_path)


def test_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, 5, 6, best=(1, 3))
    assert checkpoint_rounds(tmp_path) == [3, 5, 6]
    best = load_best(tmp_path)
    assert best.round == 3
    assert_is(tmp_path, 3)
    save(tmp_path, 7, 8, best=(8,))
    assert load_best(tmp_path).round == 8
    # round 7 still counts 3 as its best: falling back to 7 must find it
    assert checkpoint_rounds(tmp_path) == [3, 7, 8]
    checkpoint_path(tmp_path, 8).write_bytes(b"")
    assert load_best(tmp_path).round == 3


def test_a_run_taken_up_further_back_drops_later_rounds(tmp_path: Path) -> None:
    save(tmp_path, 4, 5, 6, keep=3)
    save(tmp_path, 5, keep=3)
    assert checkpoint_rounds(tmp_path) == [4, 5]
    newest = latest_checkpoint(tmp_path)
    assert newest is not None and newest.round == 5


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.999])
def test_a_cut_file_is_passed_over(tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")
    save(tmp_path, 1, 2)
    path = checkpoint_path(tmp_path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.round == 1
    assert len(found.warnings) == 1 and "round 2" in found.warnings[0]
    assert_is(tmp_path, 1)


def test_a_torn_file_is_passed_over(tmp_path: Path) -> None:
    """The right length, but a page in the middle never reached the disk; and single changed bits anywhere."""
    save(tmp_path, 1, 2)
    path = checkpoint_path(tmp_path, 2)
    whole = path.read_bytes()
    generator = random.Random(0)
    damages = [whole[:1024] + bytes(512) + whole[1536:], whole[:-1] + bytes([whole[-1] ^ 1])]
    for _ in range(40):
        place = generator.randrange(len(whole))
        damages.append(
            whole[:place] + bytes([whole[place] ^ (1 << generator.randrange(8))]) + whole[place + 1 :]
        )
    for damaged in damages:
        path.write_bytes(damaged)
        found = latest_checkpoint(tmp_path)
        assert found is not None and found.round == 1 and found.warnings
    path.write_bytes(whole)
    newest = latest_checkpoint(tmp_path)
    assert newest is not None and newest.round == 2 and not newest.warnings


def test_a_file_under_another_rounds_name_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    checkpoint_path(tmp_path, 2).rename(checkpoint_path(tmp_path, 9))
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.round == 1


def test_all_damaged_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    for round in (1, 2):
        checkpoint_path(tmp_path, round).write_bytes(b"\0" * 100)
    with pytest.raises(FederationError):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(("call", "after"), [("write", 0), ("write", 1), ("fsync", 0), ("replace", 0)])
def test_disk_full_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")
    save(tmp_path, 1, 2, best=(1,))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, calls = getattr(os, call), 0

    def fill_up(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(durable.os, call, fill_up)
    with pytest.raises(StorageError, match="disk is full") as caught:
        save(tmp_path, 3, best=(3,))
    monkeypatch.undo()
    assert str(tmp_path) in str(caught.value) and "free" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    newest = latest_checkpoint(tmp_path)
    assert newest is not None and newest.round == 2 and load_best(tmp_path).round == 1


def test_disk_full_for_real(tmp_path: Path) -> None:
    """A file-size limit of the operating system, met in the middle of the file."""
    save(tmp_path, 1)
    program = (
        "import resource, signal, sys, numpy as np; from pathlib import Path\n"
        "from emr_fl_server.checkpoints import save_checkpoint\n"
        "from emr_fl_shared.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: save_checkpoint(Path(sys.argv[1]), 2, {'w': np.zeros(100_000, np.float32)}, {})\n"
        "except StorageError: sys.exit(7)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=60, check=False)
    assert finished.returncode == 7
    assert [path.name for path in tmp_path.iterdir()] == ["round-000001.safetensors"]
    assert_is(tmp_path, 1)


WRITER = """
import sys, numpy as np
from pathlib import Path
from emr_fl_server.checkpoints import latest_checkpoint, save_checkpoint
folder = Path(sys.argv[1])
found = latest_checkpoint(folder)
round = found.round if found else 0
print("ready", flush=True)
while True:
    round += 1
    save_checkpoint(folder, round, {"w": np.full(200_000, round, np.float32)}, {"round": round}, best=round % 5 == 0)
    print(round, flush=True)
"""


def test_kill_9_at_any_instant(tmp_path: Path) -> None:
    generator = random.Random(1)
    last = 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0.0, 0.12))
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        said_last = int(said[-1]) if said else last
        found = latest_checkpoint(tmp_path)
        if found is None:
            assert not said
            continue
        # everything that was reported as saved is there, whole, and nothing newer than one further round
        assert said_last <= found.round <= said_last + 1 and not found.warnings
        assert found.state == {"round": found.round}
        assert (found.tensors["w"] == found.round).all()
        if found.round >= 5:
            assert load_best(tmp_path).round == found.round - found.round % 5
        last = found.round
    assert last > 5


def test_partial_files_of_a_killed_writer_are_cleared(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".round-000002.safetensors.4711.part").write_bytes(b"half")
    save(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "round-000001.safetensors",
        "round-000002.safetensors",
    ]


@pytest.mark.parametrize(
    ("tensors", "state"),
    [
        pytest.param({}, {"loss": float("nan")}, id="nan in the state"),
        pytest.param({}, {"when": {1, 2}}, id="not json"),
        pytest.param({"w": torch.ones(2, dtype=torch.bfloat16)}, {}, id="bfloat16"),
        pytest.param({"w": np.array(["text"])}, {}, id="text as tensor"),
    ],
)
def test_refuses_before_storing(tmp_path: Path, tensors: dict[str, object], state: dict[str, object]) -> None:
    save(tmp_path, 1)
    with pytest.raises(DataError):
        save_checkpoint(tmp_path, 2, tensors, state)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["round-000001.safetensors"]


def test_same_content_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        save(folder, 1)
    assert checkpoint_path(tmp_path / "a", 1).read_bytes() == checkpoint_path(tmp_path / "b", 1).read_bytes()
