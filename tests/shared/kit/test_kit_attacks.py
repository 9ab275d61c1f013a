"""Everything that may be done to a kit on its way or on its disk, and that reading refuses without changing anything.

After python-tuf's table of attacks: rollback, swap, truncation, endless data, mix of two federations, wrong keys.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from emr_fl_deploy.provision.changes import approve, renew, revoke
from emr_fl_deploy.provision.requests import make_request
from emr_fl_shared.errors import DataError, EmrFlError, PolicyError
from emr_fl_shared.kit import (
    KIT_DOMAIN,
    SITES_DOMAIN,
    read_registry,
    read_server_kit,
    read_site_kit,
    sign_bytes,
)
from emr_fl_shared.kit.keys import load_signing_key
from emr_fl_shared.kit.signing import signature_text
from federation_kits import NOW, snapshot

A, B, SERVER, OTHER_A = (
    "mine/sites/hospital-a",
    "mine/sites/hospital-b",
    "mine/server",
    "other/sites/hospital-a",
)
Attack = Callable[[Path], Any]


def flip(path: str, place: float) -> Attack:
    def attack(root: Path) -> None:
        data = bytearray((root / path).read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        (root / path).write_bytes(data)

    return attack


def truncate(path: str, size: int) -> Attack:
    return lambda root: os.truncate(root / path, size)


def copy(source: str, target: str, *names: str) -> Attack:
    def attack(root: Path) -> None:
        for name in names:
            shutil.copy2(root / source / name, root / target / name)

    return attack


def link(path: str) -> Attack:
    def attack(root: Path) -> None:
        (root / path).rename(root / "elsewhere")
        (root / path).symlink_to(root / "elsewhere")

    return attack


def fifo(path: str) -> Attack:
    def attack(root: Path) -> None:
        (root / path).unlink()
        os.mkfifo(root / path)

    return attack


def folder_there(path: str) -> Attack:
    def attack(root: Path) -> None:
        (root / path).unlink()
        (root / path).mkdir()

    return attack


def signed_again(path: str, change: Callable[[dict[str, Any]], object], domain: bytes = KIT_DOMAIN) -> Attack:
    """What a coordinator of another version, or a careless one, would sign: the signature fits, the meaning does not."""

    def attack(root: Path) -> None:
        document = json.loads((root / path).read_bytes())
        change(document)
        data = json.dumps(document).encode()
        key_path = root / "mine/authority/signing.key.pem"
        key = load_signing_key(key_path.read_bytes(), where="")
        (root / path).write_bytes(data)
        (root / f"{path}.sig").write_bytes(signature_text([sign_bytes(key, domain, data)]))

    return attack


def edited(path: str, old: str, new: str) -> Attack:
    def attack(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return attack


SIGNED_SITE = ("kit.json", "kit.json.sig", "ca.cert.pem", "signing.pub.pem", "node.pub")
SITE_ATTACKS: list[Any] = [
    *(
        pytest.param(flip(f"{A}/{name}", place), PolicyError, "", id=f"one bit of {name} at {place:.0%}")
        for name in SIGNED_SITE
        for place in (0.0, 0.5)
    ),
    *(
        pytest.param(truncate(f"{A}/{name}", size), PolicyError, "", id=f"{name} cut to {size}")
        for name in (*SIGNED_SITE, "node.key")
        for size in (0, 40)
    ),
    *(
        pytest.param(truncate(f"{A}/{name}", 65 * 1024), PolicyError, "larger", id=f"{name} too large")
        for name in (*SIGNED_SITE, "node.key")
    ),
    *(
        pytest.param(lambda root, n=name: (root / A / n).unlink(), DataError, name, id=f"{name} missing")
        for name in (*SIGNED_SITE, "node.key")
    ),
    *(
        pytest.param(link(f"{A}/{name}"), PolicyError, "symbolic link", id=f"{name} is a link")
        for name in (*SIGNED_SITE, "node.key")
    ),
    *(
        pytest.param(fifo(f"{A}/{name}"), DataError, "not a plain file", id=f"{name} is a pipe")
        for name in ("kit.json", "node.key")
    ),
    pytest.param(folder_there(f"{A}/kit.json"), DataError, "kit.json", id="kit.json is a folder"),
    *(
        pytest.param(
            lambda root, m=mode: (root / A / "node.key").chmod(m),
            PolicyError,
            "chmod 600",
            id=f"key {mode:o}",
        )
        for mode in (0o640, 0o604, 0o660, 0o700, 0o644, 0o4600)
    ),
    pytest.param(
        edited(f"{A}/kit.json", "fl.example.org", "fl.example.net"),
        PolicyError,
        "signature",
        id="server edited",
    ),
    pytest.param(
        edited(f"{A}/kit.json", '"schema": 1', '"schema": 1, "x": 1'),
        PolicyError,
        "signature",
        id="key added",
    ),
    pytest.param(
        lambda root: (root / A / "kit.json").write_bytes((root / A / "kit.json").read_bytes() + b"\n"),
        PolicyError,
        "signature",
        id="a newline at the end",
    ),
    pytest.param(copy(B, A, "kit.json"), PolicyError, "signature", id="kit.json of another site"),
    pytest.param(copy(B, A, "kit.json.sig"), PolicyError, "signature", id="signature of another site"),
    pytest.param(
        copy(B, A, "kit.json", "kit.json.sig"),
        PolicyError,
        "node.pub",
        id="kit.json and signature of another site",
    ),
    pytest.param(
        copy(B, A, *SIGNED_SITE, "node.key"), PolicyError, "another site", id="whole kit of another site"
    ),
    pytest.param(copy(B, A, "node.key"), PolicyError, "key", id="key of another site"),
    pytest.param(copy(B, A, "node.pub"), PolicyError, "signed", id="public key of another site"),
    pytest.param(
        copy(OTHER_A, A, "kit.json.sig"), PolicyError, "signature", id="signature of another federation"
    ),
    pytest.param(
        copy(OTHER_A, A, "kit.json", "kit.json.sig"),
        PolicyError,
        "signature",
        id="kit.json of another federation",
    ),
    pytest.param(
        copy(OTHER_A, A, "signing.pub.pem"), PolicyError, "signature", id="signing key of another federation"
    ),
    pytest.param(
        copy(OTHER_A, A, "ca.cert.pem"), PolicyError, "signed", id="authority of another federation"
    ),
    pytest.param(
        copy(OTHER_A, A, "kit.json", "kit.json.sig", "signing.pub.pem", "ca.cert.pem", "node.pub"),
        PolicyError,
        "key",
        id="everything but the key of another federation",
    ),
    pytest.param(
        lambda root: [
            shutil.copy2(root / SERVER / f"sites.json{end}", root / A / f"kit.json{end}")
            for end in ("", ".sig")
        ],
        PolicyError,
        "signature",
        id="registry passed off as a kit",
    ),
    pytest.param(
        copy(SERVER, A, "kit.json", "kit.json.sig"),
        PolicyError,
        "other kind",
        id="server's kit.json in a site's kit",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: kit.update(extra=1)),
        DataError,
        "extra",
        id="unknown key, signed",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: kit.update(schema=2)),
        DataError,
        "schema",
        id="later schema, signed",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: kit.update(name="../x")),
        DataError,
        "name",
        id="name that is a path",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: kit.update(not_after="2030-01-01T00:00:00")),
        DataError,
        "not_after",
        id="date without a zone",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: kit["files"].pop("ca.cert.pem")),
        PolicyError,
        "other files",
        id="a digest left out",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: kit["files"].update({"../../x": "0" * 64})),
        PolicyError,
        "other files",
        id="a digest of a file outside",
    ),
    pytest.param(
        signed_again(f"{A}/kit.json", lambda kit: None, SITES_DOMAIN),
        PolicyError,
        "signature",
        id="signed as registry",
    ),
]


@pytest.mark.parametrize(("attack", "error", "words"), SITE_ATTACKS)
def test_a_site_refuses(federations: Path, attack: Attack, error: type[EmrFlError], words: str) -> None:
    read_site_kit(federations / A, NOW, name="hospital-a")
    key = (federations / A / "node.key").read_text()
    attack(federations)
    before = snapshot_but_pipes(federations)
    with pytest.raises(error) as caught:
        read_site_kit(federations / A, NOW, name="hospital-a")
    assert type(caught.value) is error and caught.value.exit_code == (3 if error is PolicyError else 1)
    assert words in str(caught.value) and str(federations) in str(caught.value)
    assert not any(line in str(caught.value) for line in key.splitlines() if line)
    assert snapshot_but_pipes(federations) == before


def snapshot_but_pipes(root: Path) -> dict[str, tuple[int, bytes]]:
    pipes = [path for path in root.rglob("*") if path.is_fifo()]
    for path in pipes:
        path.unlink()
    found = snapshot(root)
    for path in pipes:
        os.mkfifo(path)
    return found


SIGNED_SERVER = ("kit.json", "kit.json.sig", "ca.cert.pem", "signing.pub.pem", "server.cert.pem")
SERVER_ATTACKS: list[Any] = [
    *(
        pytest.param(flip(f"{SERVER}/{name}", 0.5), PolicyError, "", id=f"one bit of {name}")
        for name in SIGNED_SERVER
    ),
    *(
        pytest.param(
            lambda root, m=mode: (root / SERVER / "server.key.pem").chmod(m),
            PolicyError,
            "chmod 600",
            id=f"key {mode:o}",
        )
        for mode in (0o640, 0o604)
    ),
    pytest.param(link(f"{SERVER}/server.key.pem"), PolicyError, "symbolic link", id="key is a link"),
    pytest.param(
        copy("other/server", SERVER, "server.key.pem"), PolicyError, "key", id="key of another federation"
    ),
    pytest.param(
        copy("other/server", SERVER, "server.key.pem", "server.cert.pem"),
        PolicyError,
        "signed",
        id="key and certificate of another federation",
    ),
    pytest.param(
        copy(A, SERVER, "kit.json", "kit.json.sig"), PolicyError, "other kind", id="site's kit.json"
    ),
    pytest.param(
        lambda root: (root / SERVER / "server.key.pem").write_bytes(
            (root / "mine/authority/signing.key.pem").read_bytes()
        ),
        PolicyError,
        "EC key",
        id="key of another kind",
    ),
]


@pytest.mark.parametrize(("attack", "error", "words"), SERVER_ATTACKS)
def test_a_server_refuses(federations: Path, attack: Attack, error: type[EmrFlError], words: str) -> None:
    read_server_kit(federations / SERVER, NOW)
    attack(federations)
    before = snapshot(federations)
    with pytest.raises(error) as caught:
        read_server_kit(federations / SERVER, NOW)
    assert type(caught.value) is error and words in str(caught.value)
    assert snapshot(federations) == before


REGISTRY_ATTACKS: list[Any] = [
    *(
        pytest.param(flip(f"{SERVER}/{name}", 0.5), PolicyError, "signature", id=f"one bit of {name}")
        for name in ("sites.json", "sites.json.sig")
    ),
    pytest.param(edited(f"{SERVER}/sites.json", "false", "true"), PolicyError, "signature", id="edited"),
    pytest.param(truncate(f"{SERVER}/sites.json", 100), PolicyError, "signature", id="cut"),
    pytest.param(truncate(f"{SERVER}/sites.json", 4 * 2**20 + 1), PolicyError, "larger", id="too large"),
    pytest.param(link(f"{SERVER}/sites.json"), PolicyError, "symbolic link", id="a link"),
    pytest.param(
        lambda root: (root / SERVER / "sites.json.sig").unlink(), DataError, "sites.json.sig", id="unsigned"
    ),
    pytest.param(
        copy("other/server", SERVER, "sites.json", "sites.json.sig"),
        PolicyError,
        "signature",
        id="another federation's",
    ),
    pytest.param(
        lambda root: [
            shutil.copy2(root / SERVER / f"kit.json{end}", root / SERVER / f"sites.json{end}")
            for end in ("", ".sig")
        ],
        PolicyError,
        "signature",
        id="kit passed off as a registry",
    ),
    pytest.param(
        signed_again(f"{SERVER}/sites.json", lambda doc: doc.update(federation_id="0" * 32), SITES_DOMAIN),
        PolicyError,
        "another federation",
        id="same key, another federation",
    ),
    pytest.param(
        signed_again(f"{SERVER}/sites.json", lambda doc: doc["sites"].append(doc["sites"][0]), SITES_DOMAIN),
        DataError,
        "contradicts",
        id="a key twice",
    ),
    pytest.param(
        signed_again(
            f"{SERVER}/sites.json", lambda doc: doc["sites"][0].update(fingerprint="0" * 64), SITES_DOMAIN
        ),
        DataError,
        "contradicts",
        id="fingerprint of another key",
    ),
    pytest.param(
        signed_again(
            f"{SERVER}/sites.json",
            lambda doc: doc["sites"][0].update(name=doc["sites"][1]["name"]),
            SITES_DOMAIN,
        ),
        DataError,
        "contradicts",
        id="two keys for one name",
    ),
    pytest.param(
        signed_again(f"{SERVER}/sites.json", lambda doc: doc["sites"][0].update(role="admin"), SITES_DOMAIN),
        DataError,
        "sites.0.role",
        id="unknown key, signed",
    ),
]


@pytest.mark.parametrize(("attack", "error", "words"), REGISTRY_ATTACKS)
def test_a_registry_is_refused(
    federations: Path, attack: Attack, error: type[EmrFlError], words: str
) -> None:
    kit = read_server_kit(federations / SERVER, NOW)
    assert {entry.name for entry in kit.registry().entries} == {"hospital-a", "hospital-b"}
    attack(federations)
    before = snapshot(federations)
    with pytest.raises(error) as caught:
        kit.registry()
    assert type(caught.value) is error and words in str(caught.value)
    assert snapshot(federations) == before


def test_an_older_registry_in_which_a_site_is_not_revoked_is_refused(kits: Path) -> None:
    kit = read_server_kit(kits / "server", NOW)
    old = {name: (kits / "server" / name).read_bytes() for name in ("sites.json", "sites.json.sig")}
    seen = kit.registry().revision
    revoke(kits, "hospital-a", now=NOW)
    newer = kit.registry(at_least=seen).revision
    assert newer > seen
    for name, data in old.items():
        (kits / "server" / name).write_bytes(data)
    assert kit.registry(at_least=seen).revision == seen  # genuine, only old
    with pytest.raises(PolicyError, match="older list"):
        kit.registry(at_least=newer)


@pytest.mark.parametrize("days", [60, 364])
def test_before_and_after_its_time(kits: Path, days: int) -> None:
    folder = kits / "sites/hospital-a"
    end = read_site_kit(folder, NOW).document.not_after
    assert end == NOW + timedelta(days=365)
    read_site_kit(folder, NOW + timedelta(days=days))
    read_site_kit(folder, end - timedelta(seconds=1))
    for read, path in ((read_site_kit, folder), (read_server_kit, kits / "server")):
        for moment, words in ((end, "expired"), (NOW - timedelta(hours=2), "not valid yet")):
            with pytest.raises(PolicyError, match=words) as caught:
                read(path, moment)
            assert "clock" in str(caught.value) and f"{moment:%Y-%m-%d %H:%M}" in str(caught.value)


def test_a_machine_that_is_a_little_late_may_use_a_kit_made_just_now(kits: Path) -> None:
    read_site_kit(kits / "sites/hospital-a", NOW - timedelta(minutes=55))


def test_editing_what_a_site_may_edit_breaks_nothing(kits: Path) -> None:
    folder = kits / "sites/hospital-a"
    before = read_site_kit(folder, NOW)
    before.settings_path.write_text('source = "/data/export.csv"\n[policy]\nmax_rounds = 3\n')
    before.settings_path.chmod(0o644)
    assert read_site_kit(folder, NOW) == before
    before.settings_path.unlink()
    assert read_site_kit(folder, NOW) == before


@pytest.mark.parametrize(
    ("days_left", "warned"), [(61, False), (60, False), (59, True), (1, True), (0, True)]
)
def test_warning_from_sixty_days_before(kits: Path, days_left: int, warned: bool) -> None:
    kit = read_site_kit(kits / "sites/hospital-a", NOW)
    moment = kit.document.not_after - timedelta(days=days_left)
    assert kit.days_left(moment) == days_left
    warning = kit.warning(moment)
    assert (warning is not None) == warned
    if warning:
        assert f"{days_left} days" in warning and "2027-03-01" in warning


def test_a_kit_that_expires_while_it_is_in_use_says_so(kits: Path) -> None:
    kit = read_server_kit(kits / "server", NOW)
    assert (
        kit.warning(kit.document.not_after + timedelta(days=1)) == "the kit of server expired on 2027-03-01"
    )


def test_a_key_made_at_the_site_never_leaves_it(federations: Path, tmp_path: Path) -> None:
    kits = federations / "requests"
    make_request("hospital-a", tmp_path / "own", now=NOW)
    secret = (tmp_path / "own/node.key").read_bytes()
    approve(tmp_path / "own/request.json", kits, now=NOW)
    sent = kits / "sites/hospital-a"
    with pytest.raises(DataError, match=r"client request"):
        read_site_kit(sent, NOW)
    for path in sent.iterdir():
        shutil.copy2(path, tmp_path / "own" / path.name)
    assert read_site_kit(tmp_path / "own", NOW, name="hospital-a").name == "hospital-a"
    renew(kits, "all", now=NOW + timedelta(days=300))
    assert not any(secret in data or b"PRIVATE KEY" in data for _, data in snapshot(kits / "sites").values())


def test_a_registry_read_by_its_file(kits: Path) -> None:
    kit = read_server_kit(kits / "server", NOW)
    assert read_registry(kits / "server" / "sites.json", kit.signing_key) == kit.registry()
