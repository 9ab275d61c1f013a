"""Writing kits and the registry. Order: what a signature covers, then the signature, then what is signed."""

from __future__ import annotations

import contextlib
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from emr_fl_deploy.provision.authority import Authority, sha256
from emr_fl_deploy.provision.certificates import certificate_pem, key_openssh, key_pem, server_certificate
from emr_fl_deploy.provision.ledger import Issued, Ledger
from emr_fl_deploy.provision.site_file import SITE_FILE
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import EmrFlError, PolicyError
from emr_fl_shared.kit.bundle import BUNDLE_FILE, build_bundle
from emr_fl_shared.kit.documents import (
    SCHEMA,
    KitDocument,
    RegistryDocument,
    Versions,
    document_bytes,
    parse_document,
)
from emr_fl_shared.kit.files import REGISTRY_LIMIT, read_guarded
from emr_fl_shared.kit.keys import fingerprint_of, load_node_key, openssh
from emr_fl_shared.kit.signing import (
    KIT_DOMAIN,
    SITES_DOMAIN,
    fitting_signatures,
    sign_bytes,
    signature_text,
)
from emr_fl_shared.messages import tr

SERVER = "server"
_SIGNATURE_LIMIT = 1024


def issued_to_site(
    authority: Authority,
    ledger: Ledger,
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    *,
    made_here: bool,
) -> Issued:
    """The ledger's entry for a site's next kit."""
    not_before, not_after = authority.dates(now, ledger.validity_s)
    return Issued(
        number=ledger.next_number(),
        name=name,
        kind="site",
        fingerprint=fingerprint_of(public_key),
        public_key=openssh(public_key),
        made_here=made_here,
        not_before=not_before,
        not_after=not_after,
    )


def issued_to_server(
    authority: Authority, ledger: Ledger, public_key: ec.EllipticCurvePublicKey, now: datetime
) -> tuple[Issued, x509.Certificate]:
    """The server's next certificate and the ledger's entry for it."""
    not_before, not_after = authority.dates(now, ledger.validity_s)
    certificate = server_certificate(
        public_key, ledger.addresses, authority.ca, authority.ca_key, not_before, not_after
    )
    entry = Issued(
        number=ledger.next_number(),
        name=SERVER,
        kind="server",
        fingerprint=fingerprint_of(public_key),
        made_here=True,
        serial=f"{certificate.serial_number:x}",
        not_before=not_before,
        not_after=not_after,
    )
    return entry, certificate


def write_site_kit(
    authority: Authority, ledger: Ledger, entry: Issued, key: ec.EllipticCurvePrivateKey | None = None
) -> Path:
    """Write the kit of `entry` to KITS/sites/NAME; `key` is there where it was made centrally."""
    folder = authority.kits / "sites" / entry.name
    private_folder(folder)
    if key is not None:
        write_durably(folder / "node.key", [key_openssh(key)])
    elif not entry.made_here:
        _drop_earlier_key(ledger, entry.name, folder / "node.key")
    if not (folder / "SITE.toml").exists():
        write_durably(folder / "SITE.toml", [SITE_FILE.replace("NAME", entry.name).encode()])
    _write_kit(authority, ledger, entry, "site", folder, {"node.pub": f"{entry.public_key}\n".encode()})
    return folder


def write_server_kit(
    authority: Authority,
    ledger: Ledger,
    entry: Issued,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Path:
    """Write the server's kit to KITS/server; `key` where it is a new one."""
    folder = authority.kits / "server"
    private_folder(folder)
    if key is not None:
        write_durably(folder / "server.key.pem", [key_pem(key)])
    _write_kit(authority, ledger, entry, "server", folder, {"server.cert.pem": certificate_pem(certificate)})
    # beside the kit, with a signature of its own: sites check it, wherever it comes from
    bundle = build_bundle(
        authority.signing_key, federation_id=ledger.federation_id, version=version("emr-fl")
    )
    write_durably(folder / BUNDLE_FILE, [bundle])
    return folder


def publish_registry(authority: Authority, ledger: Ledger) -> None:
    """Sign and replace KITS/server/sites.json, which a running server reads again."""
    write_signed(
        authority, authority.kits / "server" / "sites.json", document_bytes(ledger.registry()), SITES_DOMAIN
    )


def check_not_rolled_back(authority: Authority, ledger: Ledger) -> None:
    """Raises PolicyError where the published registry is newer than the ledger, which then is an old copy."""
    path = authority.kits / "server" / "sites.json"
    try:
        data = read_guarded(path, limit=REGISTRY_LIMIT)
        beside = read_guarded(path.with_name(path.name + ".sig"), limit=_SIGNATURE_LIMIT)
        if not fitting_signatures(authority.signing_key.public_key(), SITES_DOMAIN, data, beside):
            return  # not ours: it is about to be replaced
        published = parse_document(RegistryDocument, data, where=str(path)).revision
    except EmrFlError:
        return
    if published > ledger.revision:
        raise PolicyError(
            tr("the ledger is older than the list of sites that was published", "账本比已发布的机构名单更旧"),
            where=str(authority.folder / "ledger.json"),
            got=str(ledger.revision),
            expected=tr(f"revision {published}", f"版本 {published}"),
            do=tr(
                "restore the newest ledger.json; going on with this one could let a revoked site in again",
                "请恢复最新的 ledger.json；使用旧账本可能会让已吊销的机构重新加入",
            ),
        )


def write_signed(authority: Authority, path: Path, data: bytes, domain: bytes) -> None:
    """Replace `path` and `path.sig` so that the pair is valid at every instant, also after a crash in between.

    First the signatures: the new one, and the one that fits what is there now. A file that was changed by hand has
    none that fits, and is not signed.
    """
    beside = path.with_name(path.name + ".sig")
    signatures = [sign_bytes(authority.signing_key, domain, data)]
    with contextlib.suppress(EmrFlError):  # nothing there yet, or nothing worth keeping
        signatures += fitting_signatures(
            authority.signing_key.public_key(),
            domain,
            read_guarded(path, limit=REGISTRY_LIMIT),
            read_guarded(beside, limit=_SIGNATURE_LIMIT),
        )[:1]
    write_durably(beside, [signature_text(list(dict.fromkeys(signatures)))])
    write_durably(path, [data])


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it, for the owner only; one that is there stays as it is."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700)


def _drop_earlier_key(ledger: Ledger, name: str, path: Path) -> None:
    """Delete a key that was made here and has been replaced by the site's own: copied, it would overwrite that one."""
    with contextlib.suppress(EmrFlError):  # no key there: the rule
        there = fingerprint_of(load_node_key(read_guarded(path, private=True), where=str(path)).public_key())
        if any(
            (item.name, item.fingerprint, item.made_here) == (name, there, True) for item in ledger.issued
        ):
            path.unlink()


def _write_kit(
    authority: Authority,
    ledger: Ledger,
    entry: Issued,
    kind: Literal["site", "server"],
    folder: Path,
    own: dict[str, bytes],
) -> None:
    files = {"ca.cert.pem": authority.ca_pem, "signing.pub.pem": authority.signing_pem, **own}
    for name, data in files.items():
        write_durably(folder / name, [data])
    document = KitDocument(
        schema=SCHEMA,
        kind=kind,
        federation=ledger.federation,
        federation_id=ledger.federation_id,
        name=entry.name,
        addresses=ledger.addresses,
        port=ledger.port,
        versions=Versions(emr_fl=version("emr-fl"), flwr=".".join(version("flwr").split(".")[:2])),
        key_fingerprint=entry.fingerprint,
        not_before=entry.not_before,
        not_after=entry.not_after,
        number=entry.number,
        files={name: sha256(data) for name, data in files.items()},
    )
    write_signed(authority, folder / "kit.json", document_bytes(document), KIT_DOMAIN)
