"""Node key → site, as the gateway asks it with whatever a stranger sends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from emr_fl_deploy.provision.changes import renew, revoke
from emr_fl_shared.kit import Registry, fingerprint_of, read_server_kit, read_site_kit
from emr_fl_shared.kit.keys import load_node_public_key
from federation_kits import NOW


@pytest.fixture
def registry(kits: Path) -> Registry:
    return read_server_kit(kits / "server", NOW).registry()


def test_each_form_of_a_key_finds_its_site(kits: Path, registry: Registry) -> None:
    text = read_site_kit(kits / "sites/hospital-b", NOW).public_key
    key = load_node_public_key(text.encode())
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    forms: list[bytes | str] = [
        text,
        text.encode(),
        (kits / "sites/hospital-b/node.pub").read_bytes(),
        key.public_bytes(serialization.Encoding.PEM, info),  # what a SuperNode sends
        key.public_bytes(serialization.Encoding.DER, info),
        fingerprint_of(key),
    ]
    assert [entry.name if (entry := registry.site_of(form)) else None for form in forms] == ["hospital-b"] * 6


def public(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, form: str) -> bytes:
    if form == "ssh":
        return key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00" * 100, id="zeros"),
        pytest.param(b"ecdsa-sha2-nistp384 AAAA", id="broken OpenSSH"),
        pytest.param("密钥", id="not ASCII"),
        pytest.param("0" * 64, id="unknown fingerprint"),
        pytest.param(b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 10_000, id="too long"),
        pytest.param(public(ec.generate_private_key(ec.SECP384R1()), "ssh"), id="unknown key"),
        pytest.param(public(ec.generate_private_key(ec.SECP256R1()), "pem"), id="another curve"),
        pytest.param(public(ed25519.Ed25519PrivateKey.generate(), "ssh"), id="another kind"),
    ],
)
def test_strangers_find_nothing(registry: Registry, key: bytes | str) -> None:
    assert registry.site_of(key) is None


def test_an_entry_says_why(kits: Path, registry: Registry) -> None:
    entry = registry.entry_of("hospital-a")
    assert entry is not None and entry.valid_at(NOW) and entry.validity_at(NOW) == "valid"
    assert entry.validity_at(entry.not_after) == "expired" and not entry.valid_at(entry.not_after)
    assert entry.validity_at(NOW - timedelta(hours=2)) == "not yet valid"
    assert registry.entry_of("hospital-z") is None
    revoke(kits, "hospital-a", now=NOW)
    later = read_server_kit(kits / "server", NOW).registry()
    revoked = later.site_of(entry.fingerprint)
    assert revoked is not None and revoked.validity_at(NOW) == "revoked" and not revoked.valid_at(NOW)
    other = later.entry_of("hospital-b")
    assert other is not None and other.valid_at(NOW)


def test_a_replaced_key_stays_known_as_revoked(kits: Path, registry: Registry) -> None:
    old = registry.entry_of("hospital-a")
    renew(kits, "hospital-a", new_key=True, now=NOW)
    later = read_server_kit(kits / "server", NOW).registry()
    new = later.entry_of("hospital-a")
    assert old is not None and new is not None and new.fingerprint != old.fingerprint and new.valid_at(NOW)
    found = later.site_of(old.fingerprint)
    assert found is not None and found.validity_at(NOW) == "revoked"
    assert read_site_kit(kits / "sites/hospital-a", NOW).document.key_fingerprint == new.fingerprint
