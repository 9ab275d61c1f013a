"""A folder that is complete or not there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emr_fl_shared.durable import fsync_folder, storage_error
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr


@contextlib.contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """A private folder that becomes `out` when the block ends well, and is deleted otherwise.

    What a killed command left beside `out` is deleted too: it may hold private keys. `out` must not exist, or be empty.
    """
    out = out.absolute()
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise UsageError(
            tr("there is something already", "已经存在"),
            where=str(out),
            do=tr("choose another --out, or delete it", "请换一个 --out，或先删除它"),
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{out.name}.*.part"):
            _discard(left)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error(error, out.parent) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # says that somebody is at work here
        yield folder
        for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
            fsync_folder(inner)
        fsync_folder(folder)
        folder.rename(out)
        fsync_folder(out.parent)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise storage_error(error, out.parent) from error
    except BaseException:  # Ctrl-C too must leave nothing half-made
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _discard(left: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(descriptor)
