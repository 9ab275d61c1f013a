"""What Flower's processes on one machine need to trust each other: a throw-away certificate for 127.0.0.1 and a secret.

Made anew at every start, readable by the owner only, never leaves the machine. Flower's Runtime and Control APIs listen on
the loopback address; with this they are encrypted, and tasks are handed only to who knows the secret.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from emr_fl_shared.durable import write_durably

HOST = "127.0.0.1"
_DAYS = 3650


@dataclass(frozen=True)
class Loopback:
    """Files of one start in `folder`."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "loopback-ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "loopback.pem"

    @property
    def key(self) -> Path:
        return self.folder / "loopback-key.pem"

    @property
    def secret(self) -> Path:
        return self.folder / "task-secret"

    def flower_options(self, port: int) -> list[str]:
        """Options of Flower's SuperLink and SuperNode alike: listen here, with these files, and leave the tasks to a worker."""
        return [
            *("--host", HOST, "--port", str(port)),
            *("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key)),
            *("--ssl-ca-certfile", str(self.authority)),
            *("--isolation", "process", "--superexec-auth-secret-file", str(self.secret)),
        ]


def make_loopback(folder: Path) -> Loopback:
    """Write a new set of files into `folder`."""
    files = Loopback(folder)
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    end = now + datetime.timedelta(days=_DAYS)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emr-fl loopback authority")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(end)
        )

    authority = (
        builder(issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    certificate = (
        builder(subject, key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_durably(files.authority, [authority.public_bytes(pem)])
    write_durably(files.certificate, [certificate.public_bytes(pem)])
    write_durably(
        files.key,
        [key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())],
    )
    write_durably(files.secret, [secrets.token_bytes(32)])
    return files
