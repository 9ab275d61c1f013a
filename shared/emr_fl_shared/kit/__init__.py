"""What gives a site and the server their identity in a real federation: kits, who may join, signatures.

A kit is a folder: `kit.json` with its signature, the files whose digests it names, a private key, and for a site
`SITE.toml`, the one file that a site edits and that nobody signs. Made by `emr-fl server provision`
(`emr_fl_deploy.provision`), read here by both sides. Order of checks everywhere: size and kind of file, signature,
meaning, digests, key, dates.
"""

from emr_fl_shared.kit.bundle import BUNDLE_FILE, build_bundle, check_bundle
from emr_fl_shared.kit.documents import SCHEMA, KitDocument, RegistryDocument, SiteEntry
from emr_fl_shared.kit.files import KIT_LIMIT, REGISTRY_LIMIT, read_guarded
from emr_fl_shared.kit.keys import fingerprint_of, load_node_public_key
from emr_fl_shared.kit.reading import (
    WARNING_DAYS,
    Kit,
    ServerKit,
    SiteKit,
    read_registry,
    read_server_kit,
    read_site_kit,
)
from emr_fl_shared.kit.registry import Registry
from emr_fl_shared.kit.signing import (
    BUNDLE_DOMAIN,
    KIT_DOMAIN,
    REQUEST_DOMAIN,
    SITES_DOMAIN,
    sign_bytes,
    verify_bytes,
)

__all__ = [
    "BUNDLE_DOMAIN",
    "BUNDLE_FILE",
    "KIT_DOMAIN",
    "KIT_LIMIT",
    "REGISTRY_LIMIT",
    "REQUEST_DOMAIN",
    "SCHEMA",
    "SITES_DOMAIN",
    "WARNING_DAYS",
    "Kit",
    "KitDocument",
    "Registry",
    "RegistryDocument",
    "ServerKit",
    "SiteEntry",
    "SiteKit",
    "build_bundle",
    "check_bundle",
    "fingerprint_of",
    "load_node_public_key",
    "read_guarded",
    "read_registry",
    "read_server_kit",
    "read_site_kit",
    "sign_bytes",
    "verify_bytes",
]
