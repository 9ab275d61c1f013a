"""Files that are either complete or not there, whatever happens while they are written.

Order: write a temporary file in the same folder, fsync it, rename it over its name, fsync the folder. A crash at any
instant leaves the old file or the new one; what it may leave besides is a `.part` file, which is never read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from emr_fl_shared.errors import StorageError
from emr_fl_shared.messages import tr

_PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_durably(path: Path, chunks: Iterable[bytes | memoryview]) -> int:
    """Write `chunks` to `path`, readable by the owner only; returns the number of bytes.

    Raises StorageError (disk full, no permission …), with the old file as it was and no partial one left.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for chunk in chunks:
                written += _write_all(file.fileno(), memoryview(chunk).cast("B"))
            os.fsync(file.fileno())
        os.replace(part, path)
        fsync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise storage_error(error, path.parent, written) from error
    except BaseException:  # Ctrl-C too must not leave a partial file behind
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return written


def fsync_folder(folder: Path) -> None:
    """Make a rename or a deletion in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_partial(folder: Path) -> int:
    """Delete the partial files that killed writers left in `folder`; returns how many. No writer may be at work there."""
    found = list(folder.glob(f".*{_PART}"))
    for part in found:
        part.unlink(missing_ok=True)
    return len(found)


def storage_error(error: OSError, folder: Path, attempted: int = 0) -> StorageError:
    """The error for a failed write: which folder, how much is free, what to do."""
    if error.errno in _FULL:
        return StorageError(
            tr("the disk is full", "磁盘已满"),
            where=str(folder),
            got=tr("free: ", "剩余空间:") + _free_space(folder),
            expected=tr("room for at least ", "至少需要 ") + _megabytes(attempted) if attempted else "",
            do=tr(
                "free some space and start again with --resume; what was complete before is intact",
                "请清理空间后用 --resume 继续;此前已完成的内容完好",
            ),
        )
    return StorageError(
        tr("can't be written", "无法写入"), where=str(folder), got=error.strerror or type(error).__name__
    )


def _write_all(descriptor: int, chunk: memoryview) -> int:
    done = 0
    while done < len(chunk):
        done += os.write(descriptor, chunk[done:])
    return done


def _free_space(folder: Path) -> str:
    try:
        return _megabytes(shutil.disk_usage(folder).free)
    except OSError:
        return "?"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
