"""The authority and the server's certificate."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from emr_fl_shared.config.addresses import is_ip

AUTHORITY_VALIDITY = timedelta(days=3652)
"""Ten years: longer than `server.validity` may be."""


def new_authority_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def new_node_key() -> ec.EllipticCurvePrivateKey:
    """P-384: the kind that a SuperLink registers."""
    return ec.generate_private_key(ec.SECP384R1())


def new_server_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def authority_certificate(
    key: ec.EllipticCurvePrivateKey, federation: str, federation_id: str, not_before: datetime
) -> x509.Certificate:
    """Self-signed; it can issue certificates of servers and no further authorities."""
    name = _name("emr-fl authority", federation, federation_id)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_before + AUTHORITY_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(issues=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )


def server_certificate(
    public_key: ec.EllipticCurvePublicKey,
    addresses: Sequence[str],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    """For the addresses that are listed and no others, not even localhost."""
    issuer = authority.subject
    organisation = str(issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    federation_id = str(issuer.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    names: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(address)) if is_ip(address) else x509.DNSName(address)
        for address in addresses
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(_name("emr-fl server", organisation, federation_id))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(min(not_after, authority.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(issues=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(authority_key, hashes.SHA384())
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    """A private key in PEM (PKCS 8) without passphrase: a server must start without a person."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A node's private key as `flower-supernode` reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _name(common: str, federation: str, federation_id: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _at_most_64_bytes(federation)),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, federation_id),
        ]
    )


def _at_most_64_bytes(text: str) -> str:
    """X.520 allows no longer organisation; a name of 64 Chinese characters has 192 bytes."""
    return text.encode()[:64].decode(errors="ignore")


def _usage(*, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )
