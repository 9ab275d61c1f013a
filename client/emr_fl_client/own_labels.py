"""The site's signature under its own mapping of labels: made and checked with the node key of its kit.

`labels.local.toml.sig` holds one line of base64: ECDSA with SHA-384 over a domain and the exact bytes of `labels.local.toml`. The
public key is the kit's `node.pub`; where there is no kit (a simulation with own data), it is the one beside the mapping.
A mapping decides which label a record trains, so what nobody at the hospital signed is refused.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING

from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import load_node_key, load_node_public_key
from emr_fl_shared.kit.signing import LABELS_DOMAIN
from emr_fl_shared.labels.local import LocalMapping, parse_local_mapping
from emr_fl_shared.labels.taxonomy import load_taxonomy
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

LIMIT = 4 * 1024 * 1024
_SIGNATURE_LIMIT = 1024
_PUBLIC_KEY = "node.pub"


def sign_mapping(path: Path, key_path: Path, taxonomy: str | None = None) -> LocalMapping:
    """Sign the mapping at `path` once it fits the label set; its `.sig` is replaced as a whole. `taxonomy`: name or file of the label
    set, where it is not a built-in one that the mapping names.

    Raises `SettingsError` (not a mapping, a label that is not there), `DataError`, `PolicyError` (a key that others can read).
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    data = read_guarded(path, limit=LIMIT, do=_write_one())
    mapping = parse_local_mapping(data, where=str(path))
    mapping.bind(load_taxonomy(taxonomy or mapping.taxonomy))
    key = load_node_key(read_guarded(key_path, private=True), where=str(key_path))
    signature = key.sign(LABELS_DOMAIN + data, ec.ECDSA(hashes.SHA384()))
    write_durably(signature_path(path), [base64.b64encode(signature) + b"\n"])
    return mapping


def read_mapping(path: Path, *, public_key: ec.EllipticCurvePublicKey | None = None) -> LocalMapping:
    """The mapping at `path`, its signature checked before it is parsed. Left out, `public_key` is that of `node.pub` beside it.

    Raises `PolicyError` (unsigned, altered, signed with another key), `DataError` (missing) or `SettingsError` (signed, and yet no
    mapping).
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    data = read_guarded(path, limit=LIMIT, do=_write_one())
    if not signature_path(path).exists():
        raise PolicyError(
            tr("the local mapping is not signed", "本地映射未签名"), where=str(path), do=_sign_again()
        )
    key = public_key or _key_beside(path)
    try:
        signature = base64.b64decode(
            read_guarded(signature_path(path), limit=_SIGNATURE_LIMIT).strip(), validate=True
        )
        key.verify(signature, LABELS_DOMAIN + data, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError, binascii.Error):
        raise PolicyError(
            tr("the site's signature does not fit the local mapping", "本机构签名与本地映射不符"),
            where=str(path),
            got=tr(
                "a file that was changed after it was signed, or signed with another key",
                "文件在签名后被改动，或由其他密钥签名",
            ),
            do=_sign_again(),
        ) from None
    return parse_local_mapping(data, where=str(path))


def site_mapping(
    settings: SiteSettings, *, public_key: ec.EllipticCurvePublicKey | None = None
) -> LocalMapping | None:
    """The mapping that a site's settings name, checked; `None` if they name none. Raises as `read_mapping` does."""
    if settings.local_labels is None:
        return None
    return read_mapping(Path(settings.local_labels), public_key=public_key)


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
                    "keep the mapping in the folder of the kit, or copy the kit's node.pub beside it",
                    "请将映射文件放在套件目录中，或把套件的 node.pub 复制到其旁",
                ),
            )
        )
    except ValueError:
        raise PolicyError(
            tr("not a node's public key", "不是节点公钥"),
            where=str(file),
            do=tr("copy the kit's node.pub again", "请重新复制套件中的 node.pub"),
        ) from None


def _write_one() -> str:
    return tr("see docs/labels.md for how to write one", "写法见 docs/labels.md")


def _sign_again() -> str:
    return tr(
        "read it again, then sign it: emr-fl client labels sign --site NAME",
        "请重新核对，然后签名：emr-fl client labels sign --site 机构名",
    )
