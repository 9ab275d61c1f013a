"""`server provision`: what is made, that other programs understand it, that it is complete or not there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from emr_fl_deploy.provision import issue
from emr_fl_deploy.provision.provisioning import provision
from emr_fl_shared.config import settings_from
from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.errors import SettingsError, StorageError, UsageError
from emr_fl_shared.kit import read_server_kit, read_site_kit
from federation_kits import NOW, SITES, settings_of, snapshot

OPENSSL = shutil.which("openssl")


def test_everything_is_for_the_owner_only(kits: Path) -> None:
    for path in [kits, *kits.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_private_keys_are_where_they_belong_and_nowhere_else(kits: Path) -> None:
    private = {name for name, (_, data) in snapshot(kits).items() if b"PRIVATE KEY" in data}
    assert private == {
        "authority/ca.key.pem",
        "authority/signing.key.pem",
        "server/server.key.pem",
        *(f"sites/{site}/node.key" for site in SITES),
    }


def test_with_requests_no_site_has_a_key_or_a_kit(federations: Path) -> None:
    kits = federations / "requests"
    assert list((kits / "sites").iterdir()) == []
    assert read_server_kit(kits / "server", NOW).registry().entries == ()


def test_node_keys_are_of_the_kind_that_flower_reads(kits: Path) -> None:
    keys = set()
    for site in SITES:
        key = load_ssh_private_key((kits / f"sites/{site}/node.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
        public = load_ssh_public_key((kits / f"sites/{site}/node.pub").read_bytes())
        assert public == key.public_key()
        keys.add(key.private_numbers().private_value)
    assert len(keys) == len(SITES)


def test_a_kit_holds_what_its_reader_needs(kits: Path) -> None:
    site, server = read_site_kit(kits / "sites/hospital-a", NOW), read_server_kit(kits / "server", NOW)
    assert site.server == ("fl.example.org", 9443)
    assert site.federation_key == server.federation_key and site.ca_certificate == server.ca_certificate
    assert site.document.federation == "study"
    assert site.document.federation_id == server.document.federation_id
    assert site.document.versions.flwr == "1.41"
    settings = load_site_settings(site.settings_path)
    assert settings.source == str(kits / "sites/hospital-a/records.csv")


def test_the_certificate_names_what_was_listed_and_nothing_else(kits: Path) -> None:
    certificate = x509.load_pem_x509_certificate((kits / "server/server.cert.pem").read_bytes())
    authority = x509.load_pem_x509_certificate((kits / "server/ca.cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [(type(name), str(name.value)) for name in names] == [
        (x509.DNSName, "fl.example.org"),
        (x509.IPAddress, "10.0.0.1"),
    ]
    assert certificate.not_valid_after_utc == NOW + timedelta(days=365)
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and basic.value.ca and basic.value.path_length == 0
    assert authority.not_valid_after_utc > NOW + timedelta(days=3650)


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        (["-verify_hostname", "fl.example.org"], True),
        (["-verify_ip", "10.0.0.1"], True),
        (["-verify_hostname", "localhost"], False),
        (["-verify_ip", "127.0.0.1"], False),
        (["-verify_hostname", "10.0.0.1"], False),
    ],
)
def test_openssl_agrees(kits: Path, name: list[str], accepted: bool) -> None:
    assert OPENSSL is not None
    server = kits / "server"
    command = [OPENSSL, "verify", "-x509_strict", "-purpose", "sslserver", "-check_ss_sig"]
    command += ["-attime", str(int(NOW.timestamp())), "-CAfile", str(server / "ca.cert.pem"), *name]
    done = subprocess.run([*command, str(server / "server.cert.pem")], capture_output=True, text=True)
    assert (done.returncode == 0) == accepted, done.stdout + done.stderr
    foreign = subprocess.run(
        [*command, str(kits.parent / "other/server/server.cert.pem")], capture_output=True, text=True
    )
    assert foreign.returncode != 0


@pytest.mark.parametrize("name", ["一" * 64, "x" * 64, "a + b, C=US"])
def test_any_name_of_a_federation_makes_a_certificate(tmp_path: Path, name: str) -> None:
    provision(settings_of(name), tmp_path / "kits", now=NOW)
    assert read_server_kit(tmp_path / "kits/server", NOW).document.federation == name


@pytest.mark.parametrize(
    ("server", "places"),
    [
        ({"addresses": []}, ["server.addresses"]),
        ({"sites": []}, ["server.sites"]),
        ({"sites": [], "addresses": []}, ["server.addresses", "server.sites"]),
        ({"sites": ["server"]}, ["server.sites", "reserved"]),
        ({"sites": ["ALL"]}, ["server.sites", "reserved"]),
    ],
)
def test_settings_that_no_federation_can_be_made_from(
    tmp_path: Path, server: dict[str, object], places: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        provision(settings_of(**server), tmp_path / "kits")
    assert all(place in str(caught.value) for place in places)
    assert list(tmp_path.iterdir()) == []


def test_names_of_simulated_sites_may_join(tmp_path: Path) -> None:
    settings = settings_from(
        {"server": {"addresses": ["a.example"]}, "sites": {"north": {"source": "n.csv"}}}
    )
    assert provision(settings, tmp_path / "kits").sites == ("north",)


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_is_not_touched(tmp_path: Path, there: str) -> None:
    out = tmp_path / "kits"
    if there == "file":
        out.write_text("mine")
    elif there == "folder":
        out.mkdir()
        (out / "file").write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="something already"):
        provision(settings_of(), out)
    assert snapshot(tmp_path) == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "kits").mkdir(mode=0o755)
    provision(settings_of(), tmp_path / "kits", now=NOW)
    test_everything_is_for_the_owner_only(tmp_path / "kits")


@pytest.mark.parametrize("writes", [0, 3, 7, 15])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), StorageError("disk full")], ids=["Ctrl-C", "disk full"]
)
def test_interrupted_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, error: BaseException
) -> None:
    stop_after(monkeypatch, writes, error)
    with pytest.raises(type(error)):
        provision(settings_of(), tmp_path / "kits")
    assert list(tmp_path.iterdir()) == []


def test_killed_it_leaves_what_the_next_one_deletes(tmp_path: Path) -> None:
    left = tmp_path / ".kits.abc.part"
    left.mkdir()
    (left / "ca.key.pem").write_text("secret")
    unrelated = tmp_path / ".kits2.abc.part"
    unrelated.mkdir()
    provision(settings_of(), tmp_path / "kits")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kits2.abc.part", "kits"]


def stop_after(monkeypatch: pytest.MonkeyPatch, writes: int, error: BaseException) -> None:
    """Let the kits' writer write `writes` files and then raise `error`."""
    real = issue.write_durably
    done = 0

    def write(path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        nonlocal done
        if done == writes:
            raise error
        done += 1
        return real(path, chunks)

    monkeypatch.setattr(issue, "write_durably", write)


def test_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        provision(settings_of(), tmp_path / "kits")
    finally:
        os.umask(before)
    test_everything_is_for_the_owner_only(tmp_path / "kits")
