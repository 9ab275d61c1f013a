"""Read and check a kit, and the registry of sites in the server's."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit.documents import KIT_FILES, KitDocument, RegistryDocument, parse_document
from emr_fl_shared.kit.files import REGISTRY_LIMIT, read_guarded
from emr_fl_shared.kit.keys import (
    fingerprint_of,
    load_node_key,
    load_node_public_key,
    load_server_key,
    load_signing_public_key,
    openssh,
)
from emr_fl_shared.kit.registry import Registry
from emr_fl_shared.kit.signing import KIT_DOMAIN, SITES_DOMAIN, fitting_signatures, verify_signed_file
from emr_fl_shared.messages import tr

WARNING_DAYS = 60
_SIGNATURE_LIMIT = 1024
_REGISTRY_TRIES = 3


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit that was read and found good."""

    folder: Path
    document: KitDocument
    signing_key: Ed25519PublicKey
    """Signs the federation's kits, its registry and its app bundle."""
    ca_certificate: bytes
    """PEM of the authority that the server's certificate must come from."""

    @property
    def name(self) -> str:
        return self.document.name

    @property
    def ca_path(self) -> Path:
        return self.folder / "ca.cert.pem"

    @property
    def federation_key(self) -> str:
        """Fingerprint of the signing key: what two people compare on the telephone."""
        return fingerprint_of(self.signing_key)

    def days_left(self, now: datetime | None = None) -> int:
        """Whole days until the kit expires."""
        return (self.document.not_after - _moment(now)) // timedelta(days=1)

    def warning(self, now: datetime | None = None) -> str | None:
        """A line to show from 60 days before the kit expires."""
        days = self.days_left(now)
        if days >= WARNING_DAYS:
            return None
        end = f"{self.document.not_after:%Y-%m-%d}"
        if days < 0:
            return tr(f"the kit of {self.name} expired on {end}", f"{self.name} 的套件已于 {end} 到期")
        return tr(
            f"the kit of {self.name} expires in {days} days, on {end}: the coordinator renews it with "
            f"`emr-fl server renew {self.name}`",
            f"{self.name} 的套件将在 {days} 天后（{end}）到期：请协调方执行 `emr-fl server renew {self.name}`",
        )


@dataclass(frozen=True, slots=True)
class SiteKit(Kit):
    """One hospital's kit."""

    public_key: str
    """The node's public key in OpenSSH format."""

    @property
    def node_key_path(self) -> Path:
        return self.folder / "node.key"

    @property
    def settings_path(self) -> Path:
        """The file that the site edits; not covered by any signature, and not read here."""
        return self.folder / "SITE.toml"

    @property
    def server(self) -> tuple[str, int]:
        """Address and port under which the server is reached."""
        return self.document.addresses[0], self.document.port


@dataclass(frozen=True, slots=True)
class ServerKit(Kit):
    """The server's kit."""

    @property
    def key_path(self) -> Path:
        return self.folder / "server.key.pem"

    @property
    def certificate_path(self) -> Path:
        return self.folder / "server.cert.pem"

    def registry(self, *, at_least: int = 0) -> Registry:
        """The registry of sites as it is on disk now; a running server asks again when the file changes."""
        return read_registry(
            self.folder,
            self.signing_key,
            at_least=at_least,
            federation_id=self.document.federation_id,
        )


def read_site_kit(folder: Path, now: datetime | None = None, *, name: str | None = None) -> SiteKit:
    """A site's kit, checked; `name` is the site that it should be for.

    Raises DataError for a missing, unreadable or foreign file, PolicyError for everything that trust refuses.
    """
    document, signing_key, contents = _read_signed(folder, "site")
    if name is not None and document.name != name:
        raise PolicyError(
            tr("the kit of another site", "这是另一机构的套件"),
            where=str(folder / "kit.json"),
            got=document.name,
            expected=name,
            do=tr("check --site and --kit", "请检查 --site 与 --kit"),
        )
    path = folder / "node.key"
    key = load_node_key(
        read_guarded(
            path,
            private=True,
            do=tr(
                "if this site made its own key (`emr-fl client request`), copy node.key here from that folder",
                "若密钥由本机构自行生成（`emr-fl client request`），请把 node.key 从那里复制过来",
            ),
        ),
        where=str(path),
    )
    try:
        public = load_node_public_key(contents["node.pub"])
    except ValueError:
        public = None
    if (
        public is None
        or fingerprint_of(public) != document.key_fingerprint
        or fingerprint_of(key.public_key()) != document.key_fingerprint
    ):
        raise _other_key(path)
    _check_dates(document, folder, now)
    return SiteKit(folder, document, signing_key, contents["ca.cert.pem"], openssh(public))


def read_server_kit(folder: Path, now: datetime | None = None) -> ServerKit:
    """The server's kit, checked: its certificate comes from the authority in the kit and belongs to its key."""
    document, signing_key, contents = _read_signed(folder, "server")
    path = folder / "server.key.pem"
    key = load_server_key(read_guarded(path, private=True), where=str(path))
    try:
        certificate = x509.load_pem_x509_certificate(contents["server.cert.pem"])
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(contents["ca.cert.pem"]))
    except (ValueError, TypeError, InvalidSignature):
        raise PolicyError(
            tr(
                "a certificate that is not from this federation's authority", "证书并非由本联邦的证书机构签发"
            ),
            where=str(folder / "server.cert.pem"),
            do="emr-fl server renew server --kits KITS",
        ) from None
    fingerprint = fingerprint_of(key.public_key())
    if fingerprint != document.key_fingerprint or fingerprint != fingerprint_of(certificate.public_key()):
        raise _other_key(path)
    _check_dates(document, folder, now)
    return ServerKit(folder, document, signing_key, contents["ca.cert.pem"])


def read_registry(
    path: Path, public_key: Ed25519PublicKey, *, at_least: int = 0, federation_id: str | None = None
) -> Registry:
    """The registry of sites in a folder (`sites.json`) or file, with its signature beside it.

    `at_least` is the revision that the caller has seen: an older registry, in which a site may not be revoked yet, is
    refused.
    """
    if path.is_dir():
        path = path / "sites.json"
    beside = path.with_name(path.name + ".sig")
    for remaining in reversed(range(_REGISTRY_TRIES)):
        data = read_guarded(path, limit=REGISTRY_LIMIT)
        signature = read_guarded(beside, limit=_SIGNATURE_LIMIT)
        if remaining and not fitting_signatures(public_key, SITES_DOMAIN, data, signature):
            time.sleep(0.05)  # replaced twice between the two reads: read again
            continue
        break
    return check_registry(
        data, signature, public_key, where=str(path), at_least=at_least, federation_id=federation_id
    )


def check_registry(
    data: bytes,
    signature: bytes,
    public_key: Ed25519PublicKey,
    *,
    where: str,
    at_least: int = 0,
    federation_id: str | None = None,
) -> Registry:
    """A registry of sites from the contents of `sites.json` and `sites.json.sig`, wherever they came from; see `read_registry`."""
    verify_signed_file(public_key, SITES_DOMAIN, data, signature, where=where)
    document = parse_document(RegistryDocument, data, where=where)
    if federation_id is not None and document.federation_id != federation_id:
        raise _other_federation(where)
    if document.revision < at_least:
        raise PolicyError(
            tr("an older list of sites in place of a newer one", "机构名单被换成了旧版本"),
            where=where,
            got=str(document.revision),
            expected=tr(f"revision {at_least} or later", f"版本 {at_least} 或更新"),
            do=tr(
                "copy sites.json and sites.json.sig from the coordinator's KITS/server again",
                "请从协调方的 KITS/server 重新复制 sites.json 与 sites.json.sig",
            ),
        )
    return Registry.of(document, where=where)


def _read_signed(
    folder: Path, kind: Literal["site", "server"]
) -> tuple[KitDocument, Ed25519PublicKey, dict[str, bytes]]:
    """The kit's document, the key that signed it, and the files whose digests it names, all checked."""
    where = folder / "kit.json"
    data = read_guarded(where)
    signature = read_guarded(folder / "kit.json.sig", limit=_SIGNATURE_LIMIT)
    key_path = folder / "signing.pub.pem"
    key_data = read_guarded(key_path)
    key = load_signing_public_key(key_data, where=str(key_path))
    verify_signed_file(key, KIT_DOMAIN, data, signature, where=str(where))
    document = parse_document(KitDocument, data, where=str(where))
    if document.kind != kind:
        raise PolicyError(
            tr("a kit of the other kind", "套件种类不符"),
            where=str(where),
            got=document.kind,
            expected=kind,
            do=tr("check --kit", "请检查 --kit"),
        )
    if set(document.files) != KIT_FILES[kind]:
        raise PolicyError(tr("names other files than a kit has", "列出的文件与套件不符"), where=str(where))
    contents = {}
    for name in sorted(KIT_FILES[kind]):
        contents[name] = key_data if name == key_path.name else read_guarded(folder / name)
        if not hmac.compare_digest(hashlib.sha256(contents[name]).hexdigest(), document.files[name]):
            raise PolicyError(
                tr("not the file that was signed", "不是签名时的文件"),
                where=str(folder / name),
                expected=tr("its SHA-256 as in kit.json", "SHA-256 与 kit.json 一致"),
                do=tr(
                    "put the original file back, or ask for the kit again; only SITE.toml may be edited",
                    "请恢复原文件，或重新索取套件；只有 SITE.toml 可以编辑",
                ),
            )
    return document, key, contents


def _check_dates(document: KitDocument, folder: Path, now: datetime | None) -> None:
    moment = _moment(now)
    clock = f"{moment:%Y-%m-%d %H:%M} UTC"
    if moment < document.not_before:
        raise PolicyError(
            tr("the kit is not valid yet", "套件尚未生效"),
            where=str(folder / "kit.json"),
            got=tr("this machine's clock says ", "本机时钟为 ") + clock,
            expected=tr(
                f"from {document.not_before:%Y-%m-%d %H:%M} UTC",
                f"自 {document.not_before:%Y-%m-%d %H:%M} UTC 起",
            ),
            do=tr("is the clock right? set it (NTP) and try again", "时钟是否正确？请校准（NTP）后重试"),
        )
    if moment >= document.not_after:
        raise PolicyError(
            tr("the kit has expired", "套件已过期"),
            where=str(folder / "kit.json"),
            got=tr("this machine's clock says ", "本机时钟为 ") + clock,
            expected=tr(
                f"before {document.not_after:%Y-%m-%d %H:%M} UTC",
                f"早于 {document.not_after:%Y-%m-%d %H:%M} UTC",
            ),
            do=tr(
                f"if the clock is right, the coordinator renews it: emr-fl server renew {document.name} --kits KITS",
                f"若时钟无误，请协调方续期：emr-fl server renew {document.name} --kits KITS",
            ),
        )


def _moment(now: datetime | None) -> datetime:
    return datetime.now(UTC) if now is None else now


def _other_key(path: Path) -> PolicyError:
    return PolicyError(
        tr("the key does not belong to this kit", "密钥与套件不符"),
        where=str(path),
        do=tr(
            "keep key and kit.json together as they were issued; after a new key, ask for a new kit",
            "密钥与 kit.json 须成套使用；更换密钥后请重新申请套件",
        ),
    )


def _other_federation(where: str) -> PolicyError:
    return PolicyError(
        tr("the list of sites of another federation", "这是另一个联邦的机构名单"),
        where=where,
        do=tr("copy the files of KITS/server together", "请成套复制 KITS/server 中的文件"),
    )
