"""The site's signature under files of its own: made and checked with the node key of its kit.

`FILE.sig` holds one line of base64: ECDSA with SHA-384 over a domain and the exact bytes of `FILE`. The public key is the kit's
`node.pub`; where there is no kit (a simulation with own data), it is the one beside the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import load_node_key, load_node_public_key
from emr_fl_shared.kit.signing import own_key_signed, sign_with_own_key
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

LIMIT = 4 * 1024 * 1024
_SIGNATURE_LIMIT = 1024
_PUBLIC_KEY = "node.pub"


@dataclass(frozen=True)
class OwnDocument:
    """A kind of file that a site signs: what it is called, the domain of its signatures, the page about it, who signs it."""

    en: str
    zh: str
    domain: bytes
    page: str
    command: str

    def read(self, path: Path) -> bytes:
        """Its bytes, signed or not. Raises `DataError` or `PolicyError` as `read_guarded` does."""
        return read_guarded(
            path, limit=LIMIT, do=tr(f"see {self.page} for how to write one", f"写法见 {self.page}")
        )

    def sign(self, path: Path, data: bytes, key_path: Path) -> None:
        """Write the signature over `data`, the bytes of `path`. Raises `PolicyError` for a key that others can read."""
        key = load_node_key(read_guarded(key_path, private=True), where=str(key_path))
        signature = sign_with_own_key(key, self.domain, data)
        write_durably(signature_path(path), [f"{signature}\n".encode()])

    def read_signed(self, path: Path, public_key: ec.EllipticCurvePublicKey | None = None) -> bytes:
        """Its bytes once the signature fits. Left out, `public_key` is that of `node.pub` beside it.

        Raises `PolicyError` (unsigned, altered, signed with another key) or `DataError` (missing).
        """
        data = self.read(path)
        if not signature_path(path).exists():
            raise PolicyError(
                tr(f"the {self.en} is not signed", f"{self.zh}未签名"), where=str(path), do=self._sign_again()
            )
        key = public_key or _key_beside(path)
        signature = read_guarded(signature_path(path), limit=_SIGNATURE_LIMIT).strip()
        if not own_key_signed(key, self.domain, data, signature):
            raise PolicyError(
                tr(f"the site's signature does not fit the {self.en}", f"本机构签名与{self.zh}不符"),
                where=str(path),
                got=tr(
                    "a file that was changed after it was signed, or signed with another key",
                    "文件在签名后被改动，或由其他密钥签名",
                ),
                do=self._sign_again(),
            )
        return data

    def _sign_again(self) -> str:
        return tr(
            f"read it again, then sign it: {self.command} --site NAME",
            f"请重新核对，然后签名：{self.command} --site 机构名",
        )


def signature_path(path: Path) -> Path:
    """Where the signature lies."""
    return path.with_name(path.name + ".sig")


def _key_beside(path: Path) -> ec.EllipticCurvePublicKey:
    file = path.parent / _PUBLIC_KEY
    try:
        return load_node_public_key(
            read_guarded(
                file,
                do=tr(
                    "keep the signed file in the folder of the kit, or copy the kit's node.pub beside it",
                    "请将签名文件放在套件目录中，或把套件的 node.pub 复制到其旁",
                ),
            )
        )
    except ValueError:
        raise PolicyError(
            tr("not a node's public key", "不是节点公钥"),
            where=str(file),
            do=tr("copy the kit's node.pub again", "请重新复制套件中的 node.pub"),
        ) from None
