"""Durable writes: complete or not there, the old file intact, no partial file left."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from emr_fl_shared import durable
from emr_fl_shared.durable import discard_partial, write_durably
from emr_fl_shared.errors import StorageError


def test_writes_replaces_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    assert write_durably(path, [b"one", memoryview(b"two")]) == 6
    assert path.read_bytes() == b"onetwo"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_durably(path, [b"three"])
    assert path.read_bytes() == b"three"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")
    path = tmp_path / "file"
    write_durably(path, [b"old"])

    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(durable.os, call, fail)
    with pytest.raises(StorageError) as caught:
        write_durably(path, [b"new"])
    monkeypatch.undo()
    message = str(caught.value)
    assert str(tmp_path) in message
    assert ("disk is full" in message and "MiB" in message) == (number != errno.EIO)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_interrupted_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, [b"old"])

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_durably(path, chunks())
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(durable.os, "write", lambda fd, chunk: real(fd, chunk[:7]))
    write_durably(tmp_path / "file", [b"x" * 100, b"", b"y" * 10])
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"x" * 100 + b"y" * 10


def test_no_such_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(StorageError):
        write_durably(tmp_path / "file" / "below", [b"x"])


def test_discard_partial(tmp_path: Path) -> None:
    (tmp_path / ".file.123.part").write_bytes(b"half")
    (tmp_path / "kept").write_bytes(b"whole")
    assert discard_partial(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
