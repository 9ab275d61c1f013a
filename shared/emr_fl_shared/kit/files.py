"""Reading the files of a kit: plain files only, bounded, private ones readable by their owner only."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from emr_fl_shared.errors import DataError, PolicyError
from emr_fl_shared.messages import tr

KIT_LIMIT = 64 * 1024
REGISTRY_LIMIT = 4 * 1024 * 1024
_OWNER_ONLY = 0o600


def read_guarded(path: Path, *, limit: int = KIT_LIMIT, private: bool = False, do: str = "") -> bytes:
    """The bytes of a plain file of at most `limit` bytes; `do` is the advice where it is missing.

    Kind, mode and size are those of the file that was opened, not of what lies under its name a moment later.
    Raises DataError (missing, unreadable, no plain file) or PolicyError (a link, too large, a private file that others
    may read or change).
    """
    try:
        # O_NONBLOCK: a named pipe in place of the file must not make us wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DataError(
            tr("missing", "文件缺失"),
            where=str(path),
            do=do or tr("copy the whole kit again, or check --kit", "请重新复制整个套件，或检查 --kit"),
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PolicyError(
                tr("a symbolic link in place of a file", "此处应为文件，却是符号链接"),
                where=str(path),
                do=tr("put the file itself there", "请放入文件本身"),
            ) from None
        raise unreadable(path, error) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(
                tr("not a plain file", "不是普通文件"),
                where=str(path),
                do=tr("copy the whole kit again", "请重新复制整个套件"),
            )
        mode = stat.S_IMODE(status.st_mode)
        if private and mode & ~_OWNER_ONLY:
            raise PolicyError(
                tr("a private key that others can reach", "私钥文件可被他人访问"),
                where=str(path),
                got=f"{mode:04o}",
                expected=tr("0600 or narrower", "0600 或更严"),
                do=f"chmod 600 {path}",
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise PolicyError(
            tr("larger than such a file can be", "文件超出允许的大小"),
            where=str(path),
            expected=tr(f"at most {limit} bytes", f"至多 {limit} 字节"),
            do=tr("copy the whole kit again", "请重新复制整个套件"),
        )
    return data


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a file that can't be read."""
    return DataError(
        tr("can't be read", "无法读取"),
        where=str(path),
        got=error.strerror or type(error).__name__,
        do=tr("check its owner and mode", "请检查文件的所有者与权限"),
    )
