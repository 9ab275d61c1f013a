"""A site's own random key: made on first use, readable by its owner only; it never leaves."""

from __future__ import annotations

import secrets
from pathlib import Path

from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

KEY_BYTES = 32


def own_key(path: Path) -> bytes:
    """The key in `path`, made if there is none. Raises `PolicyError` if others can read it or it is damaged."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, [secrets.token_bytes(KEY_BYTES)])
    if path.stat().st_mode & 0o077:
        raise PolicyError(
            tr("others can read this key", "该密钥可被他人读取"),
            where=str(path),
            expected="0600",
            do=f"chmod 600 {path}",
        )
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise PolicyError(
            tr("this key is damaged", "该密钥已损坏"),
            where=str(path),
            got=f"{len(key)} B",
            expected=f"{KEY_BYTES} B",
            do=tr("restore it, or delete it: a new one is made", "请恢复该文件，或将其删除，系统会重新生成"),
        )
    return key
