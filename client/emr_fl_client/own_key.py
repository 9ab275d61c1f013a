"""A site's own random key: made on first use, readable by its owner only; it never leaves."""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from emr_fl_shared.chain import Signer
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

KEY_BYTES = 32
_ORDER = 2**384 - 1388124618062372383947042015309946732620727252194336364173
"""Of the group of P-384 (SEC 2, version 2, section 2.5.1)."""


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


def signer_of(key: bytes) -> Signer:
    """An EC P-384 key derived from a site's own one, for a site that has no kit: the same key, the same signer."""
    drawn = HKDF(hashes.SHA384(), 64, salt=None, info=b"emr-fl audit 1").derive(key)
    return Signer(ec.derive_private_key(int.from_bytes(drawn, "big") % (_ORDER - 1) + 1, ec.SECP384R1()))
