"""The site's own mapping of labels, signed with its own key.

A mapping decides which label a record trains, so what nobody at the hospital signed is refused (`own_signature`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emr_fl_client.own_signature import OwnDocument
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.kit.signing import LABELS_DOMAIN
from emr_fl_shared.labels.local import LocalMapping, parse_local_mapping
from emr_fl_shared.labels.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_MAPPING = OwnDocument(
    "local mapping", "本地映射", LABELS_DOMAIN, "docs/labels.md", "emr-fl client labels sign"
)


def sign_mapping(path: Path, key_path: Path, taxonomy: str | None = None) -> LocalMapping:
    """Sign the mapping at `path` once it fits the label set; its `.sig` is replaced as a whole. `taxonomy`: name or file of the label
    set, where it is not a built-in one that the mapping names.

    Raises `SettingsError` (not a mapping, a label that is not there), `DataError`, `PolicyError` (a key that others can read).
    """
    data = _MAPPING.read(path)
    mapping = parse_local_mapping(data, where=str(path))
    mapping.bind(load_taxonomy(taxonomy or mapping.taxonomy))
    _MAPPING.sign(path, data, key_path)
    return mapping


def read_mapping(path: Path, *, public_key: ec.EllipticCurvePublicKey | None = None) -> LocalMapping:
    """The mapping at `path`, its signature checked before it is parsed. Left out, `public_key` is that of `node.pub` beside it.

    Raises `PolicyError` (unsigned, altered, signed with another key), `DataError` (missing) or `SettingsError` (signed, and yet no
    mapping).
    """
    return parse_local_mapping(_MAPPING.read_signed(path, public_key), where=str(path))


def site_mapping(
    settings: SiteSettings, *, public_key: ec.EllipticCurvePublicKey | None = None
) -> LocalMapping | None:
    """The mapping that a site's settings name, checked; `None` if they name none. Raises as `read_mapping` does."""
    if settings.local_labels is None:
        return None
    return read_mapping(Path(settings.local_labels), public_key=public_key)
