"""Node keys and a signed registry for the sites of a simulation, as `emr-fl server provision` makes them for a real federation.

Made for the run; the signing key is forgotten as soon as the registry is signed, and the node keys are deleted when the run is complete.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emr_fl_client.masking import Identity
from emr_fl_deploy.provision.certificates import key_openssh, new_node_key, public_pem
from emr_fl_shared.config.settings import LONGEST_VALIDITY
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.kit.documents import SCHEMA, RegistryDocument, SiteEntry, document_bytes
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import fingerprint_of, load_node_key, load_signing_public_key, openssh
from emr_fl_shared.kit.reading import read_registry
from emr_fl_shared.kit.signing import SITES_DOMAIN, sign_bytes, signature_text
from emr_fl_shared.secure_aggregation.statements import SignedRegistry, Trust, node_keys, signed_registry

NODE_KEY = "node.key"
_FOLDER, _SITES, _SIGNING = "identities", "sites.json", "signing.pub.pem"


def make_identities(names: Iterable[str], run: Path) -> None:
    """Keys for these sites in run folder `run`, and the registry of them; those of an unfinished run stay."""
    names = sorted(names)
    try:
        registry = trust_of(run).registry(registry_of(run))
        known = {name: fingerprint_of(key) for name, key in node_keys(registry, names).items()}
        if known == {name: fingerprint_of(_node_key(run, name).public_key()) for name in names}:
            return
    except EmrFlError:
        pass
    signing, now = Ed25519PrivateKey.generate(), datetime.now(UTC).replace(microsecond=0)
    entries = []
    for name in names:
        key = new_node_key()
        write_durably(_private_folder(run / "sites" / name) / NODE_KEY, [key_openssh(key)])
        entries.append(
            SiteEntry(
                name=name,
                public_key=openssh(key.public_key()),
                fingerprint=fingerprint_of(key.public_key()),
                not_before=now - timedelta(hours=1),
                not_after=now + timedelta(seconds=LONGEST_VALIDITY),
                revoked=False,
            )
        )
    document = RegistryDocument(
        schema=SCHEMA,
        federation="simulation",
        federation_id=secrets.token_hex(16),
        revision=1,
        sites=tuple(entries),
    )
    data = document_bytes(document)
    folder = _private_folder(run / _FOLDER)
    write_durably(folder / _SIGNING, [public_pem(signing.public_key())])
    write_durably(folder / f"{_SITES}.sig", [signature_text([sign_bytes(signing, SITES_DOMAIN, data)])])
    write_durably(folder / _SITES, [data])


def registry_of(run: Path) -> SignedRegistry:
    """The registry as it is sent to the sites. Raises EmrFlError where there is none."""
    return signed_registry(run / _FOLDER)


def trust_of(run: Path) -> Trust:
    """Whom the members of this simulation believe. Raises EmrFlError where nobody made them keys."""
    path = run / _FOLDER / _SIGNING
    key = load_signing_public_key(read_guarded(path), where=str(path))
    return Trust(key, read_registry(run / _FOLDER, key).federation_id)


def identity_of(name: str, run: Path) -> Identity | None:
    """A site's identity; `None` in a run without secure aggregation."""
    if not (run / _FOLDER / _SITES).is_file():
        return None
    return Identity(name, _node_key(run, name), trust_of(run))


def forget_keys(names: Iterable[str], run: Path) -> None:
    """Delete the node keys of a run that is complete."""
    for name in names:
        (run / "sites" / name / NODE_KEY).unlink(missing_ok=True)


def _node_key(run: Path, name: str) -> EllipticCurvePrivateKey:
    path = run / "sites" / name / NODE_KEY
    return load_node_key(read_guarded(path, private=True), where=str(path))


def _private_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
