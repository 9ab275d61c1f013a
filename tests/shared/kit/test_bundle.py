"""Everything that a server might submit in place of the federation's bundle, and that a site refuses by its bytes alone.

After python-tuf's table of attacks. Each refusal is a `PolicyError`: any other exception would end the site's process.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import stat
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.cli.config_utils import get_fab_metadata
from flwr.common.config import get_fab_config, get_fused_config_from_fab
from flwr.supercore.run import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_deploy.provision.changes import renew
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit import (
    BUNDLE_DOMAIN,
    KIT_DOMAIN,
    build_bundle,
    check_bundle,
    read_server_kit,
    sign_bytes,
)
from emr_fl_shared.kit.bundle import BUNDLE_LIMIT
from federation_kits import NOW

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FOREIGN = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
FEDERATION, OTHER = "a" * 32, "b" * 32
GOOD = build_bundle(KEY, federation_id=FEDERATION, version="1.2.3")
Files = list[tuple[str, bytes]]


def contents(bundle: bytes = GOOD) -> Files:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def zipped(files: Files, *, compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    """A zip with the dates and order of ours."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # duplicate names are the attack
        archive.comment = comment
        for name, content in files:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = compression
            archive.writestr(entry, content)
    return buffer.getvalue()


def edited(old: str, new: str) -> bytes:
    ((name, project), listing) = contents()
    assert old.encode() in project
    return zipped([(name, project.replace(old.encode(), new.encode())), listing])


def signature_replaced(signature: str) -> bytes:
    found = re.search(rb'signature = "([^"]+)"', contents()[0][1])
    assert found
    return edited(found[1].decode(), signature)


def symlink() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            if name == "pyproject.toml":
                entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def bad_deflate() -> bytes:
    """Declared deflated, but the stream is none."""
    packed = bytearray(zipped(contents(), compression=zipfile.ZIP_DEFLATED))
    start = 30 + len("pyproject.toml")
    packed[start : start + 8] = b"\xff" * 8
    return bytes(packed)


def patched_directory(offset: int, form: str, value: int) -> bytes:
    """A number in the central directory's first entry replaced."""
    data = bytearray(GOOD)
    struct.pack_into(form, data, data.index(b"PK\x01\x02") + offset, value)
    return bytes(data)


def pushing_along(name: str, content: bytes = b"x") -> bytes:
    return zipped([*contents(), (name, content)])


def lying_bomb(compression: int) -> bytes:
    """Unpacks to 40 MiB and declares 100 bytes."""
    files = [("pyproject.toml", bytes(40 * 2**20)), contents()[1]]
    data = bytearray(zipped(files, compression=compression))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 100)
    return bytes(data)


BOMB = zipped([("pyproject.toml", bytes(40 * 2**20)), contents()[1]], compression=zipfile.ZIP_DEFLATED)
ATTACKS = [
    pytest.param(b"", "can't be read", id="empty"),
    pytest.param(b"PK", "can't be read", id="two bytes"),
    pytest.param(b"[project]\n", "can't be read", id="no zip"),
    pytest.param(GOOD + bytes(BUNDLE_LIMIT), "too large", id="oversized"),
    pytest.param(BOMB, "too large", id="zip bomb"),
    *(pytest.param(GOOD[:-cut], "can't be read", id=f"cut by {cut}") for cut in (1, 22, 100, len(GOOD) // 2)),
    pytest.param(GOOD + b"\0", "", id="a byte appended"),
    pytest.param(b"\0" + GOOD, "not what was signed", id="a byte prepended"),
    pytest.param(b"#!/bin/sh\n" + GOOD, "not what was signed", id="a script prepended"),
    pytest.param(GOOD + GOOD, "not what was signed", id="twice"),
    pytest.param(zipped(contents(), comment=b"hello"), "not what was signed", id="a comment"),
    pytest.param(zipped(contents(), compression=zipfile.ZIP_DEFLATED), "not what was signed", id="deflated"),
    pytest.param(zipped(contents(), compression=zipfile.ZIP_LZMA), "not what was signed", id="LZMA"),
    pytest.param(bad_deflate(), "not what was signed", id="broken deflate stream"),
    pytest.param(zipped(contents()[::-1]), "not what was signed", id="another order"),
    pytest.param(zipped([*contents(), contents()[0]]), "files of its own", id="duplicate entry"),
    pytest.param(zipped(contents()[:1]), "files of its own", id="no list of contents"),
    pytest.param(zipped(contents()[1:]), "files of its own", id="no project file"),
    pytest.param(zipped([]), "files of its own", id="no files"),
    pytest.param(
        zipped([contents()[0], (".info/CONTENT", b"")]), "not what was signed", id="empty list of contents"
    ),
    pytest.param(symlink(), "not what was signed", id="symbolic link"),
    *(
        pytest.param(pushing_along(name), "files of its own", id=f"with {name}")
        for name in (
            "../../.bashrc",
            "/etc/passwd",
            "emr_fl_client/",
            "emr_fl_shared.py",
            "sitecustomize.py",
            "pyproject.toml\0.py",
            "PYPROJECT.TOML",
        )
    ),
    pytest.param(
        zipped([("./pyproject.toml", contents()[0][1]), contents()[1]]), "files of its own", id="./ before it"
    ),
    pytest.param(patched_directory(42, "<I", 2**32 - 1), "", id="offset beyond the end"),
    pytest.param(patched_directory(42, "<I", 7), "", id="offset into the middle"),
    pytest.param(patched_directory(24, "<I", 2**32 - 1), "", id="size of 4 GiB"),
    pytest.param(patched_directory(8, "<H", 1), "can't be read", id="encrypted"),
    pytest.param(patched_directory(10, "<H", 99), "not what was signed", id="unknown compression"),
    pytest.param(patched_directory(28, "<H", 65535), "files of its own", id="name longer than the file"),
    pytest.param(
        edited("emr_fl_client.app:installed", "emr_fl_client.app:other"), "not what", id="another ClientApp"
    ),
    pytest.param(edited("emr_fl_server.app", "os.path"), "not what was signed", id="another ServerApp"),
    pytest.param(edited("1.2.3", "1.2.4"), "signature", id="another version"),
    pytest.param(edited('version = "1.2.3"', 'version = "../../x"'), "not signed", id="version that is a path"),
    pytest.param(
        edited("[tool.emr-fl]\n", '[tool.emr-fl]\ndependencies = ["evil"]\n'), "not what was signed", id="a key more"
    ),
    pytest.param(edited("signature = ", "unsigned = "), "not signed", id="unsigned"),
    pytest.param(signature_replaced("A" * 88), "signature", id="signature of zeros"),
    pytest.param(signature_replaced("=" * 88), "signature", id="signature of padding"),
    pytest.param(signature_replaced("A" * 85 + "==="), "signature", id="signature with wrong padding"),
    pytest.param(build_bundle(FOREIGN, federation_id=FEDERATION, version="1.2.3"), "signature", id="foreign key"),
    pytest.param(
        build_bundle(KEY, federation_id=OTHER, version="1.2.3"), "another federation's", id="same key, other federation"
    ),
    pytest.param(edited(FEDERATION, OTHER), "another federation's", id="other federation written in"),
    pytest.param(
        build_bundle(FOREIGN, federation_id=OTHER, version="1.2.3"), "another federation's", id="other federation"
    ),
]  # fmt: skip


def refused(bundle: bytes) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        check_bundle(bundle, KEY.public_key(), federation_id=FEDERATION)
    assert type(caught.value) is PolicyError and caught.value.exit_code == 3
    return caught.value


def test_the_federations_own_is_accepted() -> None:
    assert check_bundle(GOOD, KEY.public_key(), federation_id=FEDERATION) == "1.2.3"
    assert build_bundle(KEY, federation_id=FEDERATION, version="1.2.3") == GOOD


def test_the_bytes_are_the_same_at_any_time_on_any_machine() -> None:
    """A site makes the zip again and compares: with other bytes, all kits that were handed over would be refused."""
    digest = "7076d099a40292c9d4d1f79031a00801212d84368cbc40c7a0be31c7a09f8bf4"
    assert hashlib.sha256(GOOD).hexdigest() == digest


@pytest.mark.parametrize(("bundle", "words"), ATTACKS)
def test_refused(bundle: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle != GOOD
    error = refused(bundle)
    assert words in str(error) and "the bundle that the server submitted" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_package_of_our_name_is_neither_unpacked_nor_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demonstrated attack on Flower: the bundle's folder goes on `sys.path` before what is installed."""
    marker = tmp_path / "it-ran"
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n".encode()
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path, modules = list(sys.path), {name for name in sys.modules if name.startswith("emr_fl")}
    refused(
        zipped(
            [
                *contents(),
                ("emr_fl_client/__init__.py", code),
                ("emr_fl_client/app.py", code),
                ("sitecustomize.py", code),
            ]
        )
    )
    refused(
        zipped(
            [
                (name, content + b"emr_fl_client/__init__.py,0,0\n" if name == ".info/CONTENT" else content)
                for name, content in contents()
            ]
            + [("emr_fl_client/__init__.py", code)]
        )
    )
    assert not marker.exists()
    assert list(folder.iterdir()) == [] and list(tmp_path.iterdir()) == [folder]
    assert sys.path == path
    assert {name for name in sys.modules if name.startswith("emr_fl")} == modules
    # the code would run, had it been unpacked into a folder that comes first
    (folder / "emr_fl_client").mkdir()
    (folder / "emr_fl_client" / "__init__.py").write_bytes(code)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", "import emr_fl_client"], env=environment, check=True, timeout=60)
    assert marker.exists()


@pytest.mark.parametrize(
    "compression",
    [
        pytest.param(zipfile.ZIP_DEFLATED, id="deflate"),
        pytest.param(zipfile.ZIP_BZIP2, id="bzip2"),
        pytest.param(zipfile.ZIP_LZMA, id="LZMA"),
    ],
)
def test_a_bomb_that_lies_about_its_size_is_not_unpacked(compression: int) -> None:
    """64 KiB of bzip2 would be several GiB of a hospital's memory."""
    bomb = lying_bomb(compression)
    assert len(bomb) < BUNDLE_LIMIT
    tracemalloc.start()
    try:
        refused(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20


def test_a_signature_of_something_else_does_not_serve() -> None:
    project = contents()[0][1]
    for domain, data in ((BUNDLE_DOMAIN, project), (KIT_DOMAIN, project), (BUNDLE_DOMAIN, b"")):
        forged = base64.b64encode(sign_bytes(KEY, domain, data)).decode()
        assert "signature does not fit" in str(refused(signature_replaced(forged)))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), bits=st.integers(1, 255))
def test_any_changed_byte_is_refused(at: int, bits: int) -> None:
    changed = bytearray(GOOD)
    changed[at] ^= bits
    refused(bytes(changed))


@settings(max_examples=200, deadline=None)
@given(
    at=st.integers(0, len(GOOD)),
    remove=st.integers(0, 40),
    insert=st.binary(max_size=40),
    packed=st.booleans(),
)
def test_any_edit_is_refused(at: int, remove: int, insert: bytes, packed: bool) -> None:
    base = zipped(contents(), compression=zipfile.ZIP_DEFLATED) if packed else GOOD
    changed = base[:at] + insert + base[at + remove :]
    if changed != GOOD:
        refused(changed)


def test_flower_accepts_it() -> None:
    assert get_fab_metadata(GOOD) == ("emr-fl/emr-fl", "1.2.3")
    assert get_fused_config_from_fab(GOOD, Run.create_empty(run_id=1)) == {}
    components = get_fab_config(GOOD)["tool"]["flwr"]["app"]["components"]
    assert components == {
        "serverapp": "emr_fl_server.app:installed",
        "clientapp": "emr_fl_client.app:installed",
    }


def test_a_kit_holds_the_bundle_of_its_federation(kits: Path) -> None:
    for _ in range(2):
        kit = read_server_kit(kits / "server", NOW)
        bundle = (kit.folder / "bundle.fab").read_bytes()
        assert check_bundle(bundle, kit.signing_key, federation_id=kit.document.federation_id)
        renew(kits, "server", now=NOW)
