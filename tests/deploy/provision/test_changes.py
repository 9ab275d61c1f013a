"""Requests, renewal and revocation: what is refused leaves everything as it was, what is interrupted can be finished."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from emr_fl_deploy.provision import changes, issue
from emr_fl_deploy.provision.authority import read_ledger
from emr_fl_deploy.provision.changes import approve, renew, revoke
from emr_fl_deploy.provision.overview import overview
from emr_fl_deploy.provision.requests import make_request, read_request
from emr_fl_shared.errors import DataError, EmrFlError, PolicyError, StorageError, UsageError
from emr_fl_shared.kit import Registry, fingerprint_of, read_server_kit, read_site_kit
from federation_kits import NOW, settings_of, snapshot

LATER = NOW + timedelta(days=300)


def registry(kits: Path, now: datetime = NOW) -> Registry:
    return read_server_kit(kits / "server", now).registry()


def request(folder: Path, name: str = "hospital-a") -> Path:
    make_request(name, folder, now=NOW)
    return folder / "request.json"


# --- requests


def test_request_and_its_key_belong_together(tmp_path: Path) -> None:
    fingerprint = make_request("hospital-a", tmp_path / "own", now=NOW)
    asked = read_request(tmp_path / "own/request.json")
    assert (asked.name, asked.fingerprint) == ("hospital-a", fingerprint)
    assert b"PRIVATE" not in (tmp_path / "own/request.json").read_bytes()
    assert (tmp_path / "own/node.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="something already"):
        make_request("hospital-a", tmp_path / "own")


@pytest.mark.parametrize("name", ["", "../a", "a b", "a\n", "x" * 65])
def test_a_request_needs_the_name_of_a_site(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--site"):
        make_request(name, tmp_path / "own")
    assert list(tmp_path.iterdir()) == []


def forge(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path, Path], None]:
    """Change a request, given it and the request of somebody else."""

    def attack(path: Path, other: Path) -> None:
        document, foreign = json.loads(path.read_bytes()), json.loads(other.read_bytes())
        change(document, foreign)
        path.write_text(json.dumps(document))

    return attack


REQUEST_ATTACKS: list[Any] = [
    pytest.param(
        forge(lambda d, o: d.update(name="hospital-b")), PolicyError, "not signed", id="another name"
    ),
    pytest.param(
        forge(lambda d, o: d.update(public_key=o["public_key"])), PolicyError, "not signed", id="another key"
    ),
    pytest.param(
        forge(lambda d, o: d.update(signature=o["signature"])),
        PolicyError,
        "not signed",
        id="another signature",
    ),
    pytest.param(forge(lambda d, o: d.update(signature="")), PolicyError, "not signed", id="no signature"),
    pytest.param(forge(lambda d, o: d.update(signature="ä")), PolicyError, "not signed", id="no base64"),
    pytest.param(
        forge(lambda d, o: d.update(made_at="2020-01-01T00:00:00Z")),
        PolicyError,
        "not signed",
        id="another date",
    ),
    pytest.param(
        forge(lambda d, o: d.update(public_key="ssh-rsa AAAA")), PolicyError, "not signed", id="no key"
    ),
    pytest.param(forge(lambda d, o: d.update(extra=1)), DataError, "extra", id="unknown key"),
    pytest.param(forge(lambda d, o: d.update(name="../x")), DataError, "name", id="name that is a path"),
    pytest.param(forge(lambda d, o: d.pop("name")), DataError, "name", id="no name"),
    pytest.param(lambda path, other: path.write_bytes(b"{"), DataError, "JSON", id="no JSON"),
    pytest.param(lambda path, other: os.truncate(path, 2**17), PolicyError, "larger", id="too large"),
    pytest.param(lambda path, other: path.unlink(), DataError, "missing", id="missing"),
]


@pytest.mark.parametrize(("attack", "error", "words"), REQUEST_ATTACKS)
def test_a_forged_request_is_refused(
    federations: Path,
    tmp_path: Path,
    attack: Callable[[Path, Path], None],
    error: type[EmrFlError],
    words: str,
) -> None:
    kits = federations / "requests"
    path = request(tmp_path / "own")
    attack(path, request(tmp_path / "foreign", "hospital-b"))
    before = snapshot(tmp_path)
    with pytest.raises(error) as caught:
        approve(path, kits, now=NOW)
    assert type(caught.value) is error and words in str(caught.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "prepare", "options", "words"),
    [
        pytest.param("hospital-z", None, {}, "not a site of this federation", id="unknown site"),
        pytest.param(
            "hospital-a", None, {"fingerprint": "0" * 64}, "not the key that was expected", id="other key"
        ),
        pytest.param(
            "hospital-a", lambda kits, path: approve(path, kits, now=NOW), {}, "already", id="twice"
        ),
        pytest.param(
            "hospital-a",
            lambda kits, path: approve(path, kits, now=NOW),
            {"replace": True},
            "already",
            id="twice with --replace",
        ),
        pytest.param(
            "hospital-a",
            lambda kits, path: (approve(path, kits, now=NOW), revoke(kits, "hospital-a", now=NOW)),
            {"replace": True},
            "issued before",
            id="a revoked key",
        ),
        pytest.param(
            "hospital-a",
            lambda kits, path: approve(request(path.parent.parent / "first"), kits, now=NOW),
            {},
            "--replace",
            id="a second key",
        ),
    ],
)
def test_a_request_that_can_not_be_approved(
    federations: Path, tmp_path: Path, name: str, prepare: Any, options: dict[str, Any], words: str
) -> None:
    kits = federations / "requests"
    path = request(tmp_path / "own", name)
    if prepare:
        prepare(kits, path)
    before = snapshot(tmp_path)
    with pytest.raises(PolicyError) as caught:
        approve(path, kits, now=NOW, **options)
    assert words in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_site_asks_and_joins(federations: Path, tmp_path: Path) -> None:
    kits = federations / "requests"
    path = request(tmp_path / "own")
    fingerprint = read_request(path).fingerprint
    spoken = ":".join(fingerprint[i : i + 2].upper() for i in range(0, 64, 2))
    assert approve(path, kits, fingerprint=spoken, now=NOW).written == (kits / "sites/hospital-a",)
    shutil.copytree(kits / "sites/hospital-a", tmp_path / "own", dirs_exist_ok=True)
    kit = read_site_kit(tmp_path / "own", NOW, name="hospital-a")
    entry = registry(kits).site_of(kit.public_key)
    assert entry is not None and entry.name == "hospital-a" and entry.valid_at(NOW)


def test_a_site_replaces_a_key_that_was_made_centrally(kits: Path, tmp_path: Path) -> None:
    old = read_site_kit(kits / "sites/hospital-a", NOW)
    edited = kits / "sites/hospital-a/SITE.toml"
    edited.write_text('source = "mine.csv"\n')
    path = request(tmp_path / "own")
    approve(path, kits, replace=True, now=NOW)
    assert not (kits / "sites/hospital-a/node.key").exists()
    assert edited.read_text() == 'source = "mine.csv"\n'
    entry = registry(kits).site_of(old.public_key)
    assert entry is not None and entry.validity_at(NOW) == "revoked"
    assert read_ledger(kits / "authority").last("site", "hospital-a").made_here is False  # type: ignore[union-attr]


# --- renewal


def test_renewal_keeps_keys_and_moves_dates(kits: Path) -> None:
    before = {name: read_site_kit(kits / "sites" / name, NOW) for name in ("hospital-a", "hospital-b")}
    server = read_server_kit(kits / "server", NOW)
    key = (kits / "server/server.key.pem").read_bytes()
    (kits / "sites/hospital-a/SITE.toml").write_text('source = "mine.csv"\n')
    done = renew(kits, "all", now=LATER)
    assert [folder.name for folder in done.written] == ["server", "hospital-a", "hospital-b"]
    after = LATER + timedelta(days=364)
    for name, kit in before.items():
        renewed = read_site_kit(kits / "sites" / name, after)
        assert renewed.public_key == kit.public_key
        assert renewed.document.number > kit.document.number
        entry = registry(kits, after).site_of(kit.public_key)
        assert entry is not None and entry.valid_at(after)
    new_server = read_server_kit(kits / "server", after)
    assert new_server.signing_key == server.signing_key and new_server.ca_certificate == server.ca_certificate
    assert (kits / "server/server.key.pem").read_bytes() == key
    assert (kits / "sites/hospital-a/SITE.toml").read_text() == 'source = "mine.csv"\n'


def test_renewal_of_one_leaves_the_others(kits: Path) -> None:
    other = snapshot(kits / "sites/hospital-b")
    renew(kits, "hospital-a", now=LATER)
    assert snapshot(kits / "sites/hospital-b") == other
    assert read_site_kit(kits / "sites/hospital-a", LATER + timedelta(days=364))


def test_new_keys_where_they_are_made_here(kits: Path) -> None:
    old = read_site_kit(kits / "sites/hospital-a", NOW)
    certificate = (kits / "server/server.cert.pem").read_bytes()
    renew(kits, "all", new_key=True, now=LATER)
    assert read_site_kit(kits / "sites/hospital-a", LATER).public_key != old.public_key
    new = x509.load_pem_x509_certificate((kits / "server/server.cert.pem").read_bytes())
    assert fingerprint_of(new.public_key()) != fingerprint_of(
        x509.load_pem_x509_certificate(certificate).public_key()
    )
    assert read_server_kit(kits / "server", LATER)


def test_nothing_outlives_the_authority(kits: Path) -> None:
    end = x509.load_pem_x509_certificate((kits / "authority/ca.cert.pem").read_bytes()).not_valid_after_utc
    almost = end - timedelta(days=10)
    renew(kits, "all", now=almost)
    assert read_server_kit(kits / "server", almost).document.not_after == end
    assert read_site_kit(kits / "sites/hospital-a", almost).document.not_after == end
    certificate = x509.load_pem_x509_certificate((kits / "server/server.cert.pem").read_bytes())
    assert certificate.not_valid_after_utc == end


def test_changed_settings_come_with_a_renewal(kits: Path, tmp_path: Path) -> None:
    settings = settings_of(addresses=["new.example.org"], port=443, sites=["hospital-a", "hospital-c"])
    renew(kits, "server", settings=settings, now=NOW)
    certificate = x509.load_pem_x509_certificate((kits / "server/server.cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["new.example.org"]
    approve(request(tmp_path / "own", "hospital-c"), kits, now=NOW)
    renew(kits, "hospital-a", now=NOW)
    assert read_site_kit(kits / "sites/hospital-a", NOW).server == ("new.example.org", 443)


def edit_node_key(kits: Path) -> None:
    shutil.copy2(kits / "sites/hospital-b/node.key", kits / "sites/hospital-a/node.key")


REFUSED: list[Any] = [
    pytest.param(lambda kits: renew(kits, "hospital-z", now=NOW), PolicyError, "not a site", id="unknown"),
    pytest.param(
        lambda kits: renew(kits, "all", settings=settings_of("another"), now=NOW),
        UsageError,
        "another federation",
        id="settings of another federation",
    ),
    pytest.param(
        lambda kits: renew(kits, "all", now=NOW + timedelta(days=4000)),
        PolicyError,
        "clock",
        id="authority expired",
    ),
    pytest.param(
        lambda kits: renew(kits, "all", now=NOW - timedelta(days=1)), PolicyError, "clock", id="clock early"
    ),
    pytest.param(
        lambda kits: revoke(kits, "hospital-z", now=NOW), UsageError, "no kit was issued", id="revoke unknown"
    ),
    pytest.param(
        lambda kits: revoke(kits, "server", now=NOW), UsageError, "no kit was issued", id="revoke the server"
    ),
    pytest.param(
        lambda kits: revoke(kits / "server", "hospital-a"), DataError, "no authority", id="wrong folder"
    ),
]


@pytest.mark.parametrize(("command", "error", "words"), REFUSED)
def test_what_is_refused_changes_nothing(
    kits: Path, command: Callable[[Path], object], error: type[EmrFlError], words: str
) -> None:
    before = snapshot(kits)
    with pytest.raises(error) as caught:
        command(kits)
    assert type(caught.value) is error and words in str(caught.value)
    assert snapshot(kits) == before


DAMAGED: list[Any] = [
    pytest.param(edit_node_key, "all", "issued last", id="key of another site"),
    pytest.param(
        lambda kits: (kits / "authority/signing.key.pem").chmod(0o644),
        "all",
        "chmod 600",
        id="signing key open",
    ),
    pytest.param(
        lambda kits: (kits / "authority/ca.key.pem").chmod(0o640), "all", "chmod 600", id="CA key open"
    ),
    pytest.param(
        lambda kits: (kits / "authority/ledger.json").chmod(0o644), "all", "chmod 600", id="ledger open"
    ),
    pytest.param(
        lambda kits: shutil.copy2(kits.parent / "other/authority/ca.key.pem", kits / "authority/ca.key.pem"),
        "all",
        "key beside it",
        id="CA key of another federation",
    ),
    pytest.param(
        lambda kits: shutil.copy2(
            kits.parent / "other/authority/ledger.json", kits / "authority/ledger.json"
        ),
        "all",
        "ledger of another",
        id="ledger of another federation",
    ),
    pytest.param(
        lambda kits: revoke(kits, "hospital-a", now=NOW), "hospital-a", "revoked", id="revoked site"
    ),
]


@pytest.mark.parametrize(("damage", "who", "words"), DAMAGED)
def test_a_damaged_authority_issues_nothing(
    kits: Path, damage: Callable[[Path], object], who: str, words: str
) -> None:
    damage(kits)
    before = snapshot(kits)
    with pytest.raises(PolicyError) as caught:
        renew(kits, who, now=NOW)
    assert words in str(caught.value)
    assert snapshot(kits) == before


def test_keys_made_at_sites_are_not_made_anew_here(federations: Path, tmp_path: Path) -> None:
    kits = federations / "requests"
    approve(request(tmp_path / "own"), kits, now=NOW)
    before = snapshot(kits)
    with pytest.raises(UsageError, match="make their own keys"):
        renew(kits, "all", new_key=True, now=NOW)
    assert snapshot(kits) == before
    assert renew(kits, "all", now=NOW).left_out == ("hospital-b",)


# --- revocation


def test_revoking_one_leaves_the_others_and_is_seen_without_restart(kits: Path) -> None:
    running = read_server_kit(kits / "server", NOW)
    seen = running.registry().revision
    before = {name: snapshot(kits / name) for name in ("sites", "authority")}
    done = revoke(kits, "hospital-a", "laptop stolen", now=NOW)
    now_seen = running.registry(at_least=seen)
    assert now_seen.revision == done.revision > seen
    states = {entry.name: entry.validity_at(NOW) for entry in now_seen.entries}
    assert states == {"hospital-a": "revoked", "hospital-b": "valid"}
    assert snapshot(kits / "sites") == before["sites"]
    line = next(line for line in overview(kits, now=NOW) if line.name == "hospital-a")
    assert (line.state, line.reason) == ("revoked", "laptop stolen")
    revoke(kits, "hospital-a", "again", now=LATER)
    line = next(line for line in overview(kits, now=LATER) if line.name == "hospital-a")
    assert line.reason == "laptop stolen"  # the first revocation stands
    assert renew(kits, "all", now=NOW).left_out == ("hospital-a",)
    assert registry(kits).entry_of("hospital-a").revoked  # type: ignore[union-attr]


def test_an_edited_registry_is_replaced_and_not_signed(kits: Path) -> None:
    path = kits / "server/sites.json"
    forged = path.read_bytes().replace(b'"hospital-a"', b'"hospital-x"')
    path.write_bytes(forged)
    revoke(kits, "hospital-b", now=NOW)
    kit = read_server_kit(kits / "server", NOW)
    assert {entry.name for entry in kit.registry().entries} == {"hospital-a", "hospital-b"}
    path.write_bytes(forged)  # with the signatures that lie there now
    with pytest.raises(PolicyError, match="signature"):
        kit.registry()


def test_a_ledger_from_an_old_backup_is_noticed(kits: Path) -> None:
    ledger = kits / "authority/ledger.json"
    old = ledger.read_bytes()
    revoke(kits, "hospital-a", now=NOW)
    ledger.write_bytes(old)
    before = snapshot(kits)
    for command in (lambda: renew(kits, "all", now=NOW), lambda: revoke(kits, "hospital-b", now=NOW)):
        with pytest.raises(PolicyError, match="older than the list"):
            command()
    assert snapshot(kits) == before


def test_one_command_at_a_time(kits: Path) -> None:
    before = snapshot(kits)
    descriptor = os.open(kits / "authority", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for command in (lambda: renew(kits, "all"), lambda: revoke(kits, "hospital-a"), lambda: overview(kits)):
        with pytest.raises(StorageError, match="another command"):
            command()
    assert snapshot(kits) == before
    os.close(descriptor)
    renew(kits, "all", now=NOW)


# --- interruption


class Power(BaseException):
    """The power goes."""


@pytest.mark.parametrize("writes", range(16))
def test_wherever_a_renewal_stops_running_it_again_completes_it(
    kits: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    running = read_server_kit(kits / "server", NOW)
    count = stop(monkeypatch, writes)
    with pytest.raises(Power):
        renew(kits, "all", now=LATER)
    assert count() == writes
    monkeypatch.undo()
    monkeypatch.setenv("EMR_FL_LANG", "en")
    assert running.registry().revision >= 1  # at every instant a valid registry
    for name in ("hospital-a", "hospital-b"):
        read_site_kit(kits / "sites" / name, LATER)  # and valid kits: only dates changed
    renew(kits, "all", now=LATER)
    after = LATER + timedelta(days=364)
    assert {read_site_kit(kits / "sites" / name, after).name for name in ("hospital-a", "hospital-b")}
    assert all(entry.valid_at(after) for entry in registry(kits, after).entries)


@pytest.mark.parametrize("writes", range(3))
def test_wherever_a_revocation_stops_running_it_again_completes_it(
    kits: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    running = read_server_kit(kits / "server", NOW)
    stop(monkeypatch, writes)
    with pytest.raises(Power):
        revoke(kits, "hospital-a", now=NOW)
    monkeypatch.undo()
    monkeypatch.setenv("EMR_FL_LANG", "en")
    assert running.registry()
    revoke(kits, "hospital-a", now=NOW)
    assert [entry.name for entry in running.registry().entries if entry.revoked] == ["hospital-a"]


@pytest.mark.parametrize("writes", range(8))
def test_wherever_an_approval_stops_renewing_completes_it(
    federations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    kits = federations / "requests"
    path = request(tmp_path / "own")
    stop(monkeypatch, writes)
    with pytest.raises(Power):
        approve(path, kits, now=NOW)
    monkeypatch.undo()
    monkeypatch.setenv("EMR_FL_LANG", "en")
    if writes == 0:
        approve(path, kits, now=NOW)
    else:
        with pytest.raises(PolicyError, match="renew hospital-a"):
            approve(path, kits, now=NOW)
        renew(kits, "hospital-a", now=NOW)
    shutil.copytree(kits / "sites/hospital-a", tmp_path / "own", dirs_exist_ok=True)
    assert registry(kits).site_of(read_site_kit(tmp_path / "own", NOW).public_key)


@pytest.mark.parametrize("writes", [1, 2, 5])
def test_an_interrupted_replacement_leaves_no_key_that_would_overwrite_the_sites_own(
    kits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    path = request(tmp_path / "own")
    stop(monkeypatch, writes)
    with pytest.raises(Power):
        approve(path, kits, replace=True, now=NOW)
    monkeypatch.undo()
    monkeypatch.setenv("EMR_FL_LANG", "en")
    renew(kits, "hospital-a", now=NOW)
    shutil.copytree(kits / "sites/hospital-a", tmp_path / "own", dirs_exist_ok=True)
    read_site_kit(tmp_path / "own", NOW)


def test_renewal_where_the_coordinator_is_the_site_keeps_the_sites_own_key(
    federations: Path, tmp_path: Path
) -> None:
    kits = federations / "requests"
    approve(request(tmp_path / "own"), kits, now=NOW)
    shutil.copy2(tmp_path / "own/node.key", kits / "sites/hospital-a/node.key")
    renew(kits, "all", now=NOW)
    read_site_kit(kits / "sites/hospital-a", NOW)


def stop(monkeypatch: pytest.MonkeyPatch, writes: int) -> Callable[[], int]:
    """Let `writes` files be written, ledger included, then raise Power; returns a count of those written."""
    done = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(path: Path, content: Iterable[bytes] | Any) -> Any:
            nonlocal done
            if done == writes:
                raise Power
            done += 1
            return real(path, content)

        return write

    monkeypatch.setattr(issue, "write_durably", counted(issue.write_durably))
    monkeypatch.setattr(changes, "write_ledger", counted(changes.write_ledger))
    return lambda: done
