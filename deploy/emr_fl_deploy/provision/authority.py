"""The authority's folder: its keys and its ledger, one command at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from emr_fl_deploy.provision.certificates import certificate_pem, public_pem
from emr_fl_deploy.provision.ledger import LEDGER_LIMIT, Ledger
from emr_fl_shared.durable import storage_error, write_durably
from emr_fl_shared.errors import DataError, PolicyError, StorageError
from emr_fl_shared.kit.documents import document_bytes, parse_document
from emr_fl_shared.kit.files import read_guarded
from emr_fl_shared.kit.keys import fingerprint_of, load_server_key, load_signing_key
from emr_fl_shared.messages import tr

EARLIER = timedelta(hours=1)
"""Certificates and kits begin this long before they are made: clocks of other machines may be a little late."""


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs: the keys in memory, and the folder of kits."""

    kits: Path
    ca_key: ec.EllipticCurvePrivateKey
    ca: x509.Certificate
    signing_key: Ed25519PrivateKey

    @property
    def folder(self) -> Path:
        return self.kits / "authority"

    @property
    def ca_pem(self) -> bytes:
        return certificate_pem(self.ca)

    @property
    def signing_pem(self) -> bytes:
        return public_pem(self.signing_key.public_key())

    @property
    def federation_key(self) -> str:
        return fingerprint_of(self.signing_key.public_key())

    def dates(self, now: datetime, validity_s: float) -> tuple[datetime, datetime]:
        """From when to when something issued now is valid; never longer than the authority."""
        start = self.ca.not_valid_before_utc
        end = self.ca.not_valid_after_utc
        if not start <= now < end:
            raise PolicyError(
                tr("the authority is not valid now", "证书机构当前无效"),
                where=str(self.folder / "ca.cert.pem"),
                got=tr("this machine's clock says ", "本机时钟为 ") + f"{now:%Y-%m-%d %H:%M} UTC",
                expected=f"{start:%Y-%m-%d} – {end:%Y-%m-%d}",
                do=tr(
                    "set the clock; an authority that has expired is replaced by provisioning again",
                    "请校准时钟；证书机构到期后需重新制作整套套件",
                ),
            )
        return max(now - EARLIER, start), min(now + timedelta(seconds=validity_s), end)


def moment(now: datetime | None) -> datetime:
    """`now` or the clock, in whole seconds as in certificates."""
    return (datetime.now(UTC) if now is None else now.astimezone(UTC)).replace(microsecond=0)


@contextlib.contextmanager
def opened(kits: Path) -> Iterator[tuple[Authority, Ledger]]:
    """The authority and its ledger, checked, with nobody else at work on them until the block ends."""
    folder = kits / "authority"
    if not folder.is_dir():
        raise DataError(
            tr("no authority here", "此处没有证书机构"),
            where=str(folder),
            do=tr(
                "give with --kits the folder that `emr-fl server provision` made",
                "请用 --kits 指定 `emr-fl server provision` 生成的目录",
            ),
        )
    with locked(folder):
        signing_path, key_path, ca_path = (
            folder / name for name in ("signing.key.pem", "ca.key.pem", "ca.cert.pem")
        )
        signing_key = load_signing_key(read_guarded(signing_path, private=True), where=str(signing_path))
        ca_key = load_server_key(read_guarded(key_path, private=True), where=str(key_path))
        try:
            ca = x509.load_pem_x509_certificate(read_guarded(ca_path))
            ca.verify_directly_issued_by(ca)
            belongs = fingerprint_of(ca.public_key()) == fingerprint_of(ca_key.public_key())
        except (ValueError, TypeError, InvalidSignature):
            belongs = False
        if not belongs:
            raise PolicyError(
                tr("not the certificate of the key beside it", "证书与同目录的密钥不符"),
                where=str(ca_path),
                do=tr("restore the authority folder from its backup", "请从备份恢复 authority 目录"),
            )
        authority = Authority(kits, ca_key, ca, signing_key)
        ledger = read_ledger(folder)
        if not any(item.fingerprint == fingerprint_of(ca_key.public_key()) for item in ledger.issued):
            raise PolicyError(
                tr("the ledger of another authority", "这是另一个证书机构的账本"),
                where=str(folder / "ledger.json"),
                do=tr("restore the authority folder from its backup", "请从备份恢复 authority 目录"),
            )
        yield authority, ledger


def read_ledger(folder: Path) -> Ledger:
    path = folder / "ledger.json"
    return parse_document(Ledger, read_guarded(path, limit=LEDGER_LIMIT, private=True), where=str(path))


def write_ledger(folder: Path, ledger: Ledger) -> None:
    write_durably(folder / "ledger.json", [document_bytes(ledger)])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. It goes with the process, so a killed command leaves none behind."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error(error, folder) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                tr("another command is at work on these kits", "另一条命令正在处理这些套件"),
                where=str(folder),
                do=tr("wait until it is done and try again", "请等它结束后重试"),
            ) from None
        yield
    finally:
        os.close(descriptor)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
