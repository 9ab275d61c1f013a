"""The bundle for machines without internet: what is in it, and what its installer refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emr_fl_deploy.airgap.bundle import Bundle, make_bundle, pack
from emr_fl_deploy.airgap.sbom import sbom_json
from emr_fl_deploy.airgap.wheels import lock_text, read_wheel, read_wheels
from emr_fl_shared.errors import DataError, UsageError

MAIN = "def main():\n    import helper\n    print('emr-fl 9.9', helper.NAME)\n"


def write_wheel(folder: Path, name: str, code: str, *metadata: str, script: str = "") -> Path:
    """A wheel of one module."""
    module = name.replace("-", "_")
    info = f"{module}-9.9.dist-info"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": "\n".join(
            ("Metadata-Version: 2.4", f"Name: {name}", "Version: 9.9", *metadata, "")
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    path = folder / f"{module}-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(name_), text)
    return path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(
        folder,
        "emr-fl",
        MAIN,
        "License-Expression: Apache-2.0",
        "Requires-Dist: Helper>=9",
        "Requires-Dist: absent; python_version < '3'",
        "Project-URL: Source, https://example.org/emr-fl",
        script="emr-fl = emr_fl:main",
    )
    write_wheel(
        folder, "helper", "NAME = 'helped'\n", "License: MIT License\n  with a long text", "Summary: helps"
    )
    return folder


@pytest.fixture(scope="module")
def made(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("airgap") / "bundle"
    return make_bundle(wheels / "emr_fl-9.9-py3-none-any.whl", Path("unused"), out, wheels=wheels)


@pytest.fixture
def bundle(made: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made.folder, tmp_path / "bundle"))


def install(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    target = bundle.parent / "venv"
    environment = {**os.environ, "PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        ["sh", str(bundle / "install.sh"), str(target), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def sums(bundle: Path) -> None:
    """Write SHA256SUMS anew, as somebody would who changed a file on purpose."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(bundle)}\n"
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (bundle / "SHA256SUMS").write_text("".join(lines))


# --- what it holds -----------------------------------------------------------------------------------------------------------


def test_it_lists_every_file_and_locks_every_wheel(made: Bundle) -> None:
    inside = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    listed = dict(
        reversed(line.split("  ")) for line in (made.folder / "SHA256SUMS").read_text().splitlines()
    )
    assert set(listed) == inside - {"SHA256SUMS"}
    assert {"wheels/emr_fl-9.9-py3-none-any.whl", "sbom.cdx.json", "INSTALL.md", "PLATFORM"} <= inside
    for name, digest in listed.items():
        assert hashlib.sha256((made.folder / name).read_bytes()).hexdigest() == digest, name
    lock = (made.folder / "requirements.lock").read_text()
    assert f"helper==9.9 \\\n    --hash=sha256:{listed['wheels/helper-9.9-py3-none-any.whl']}" in lock
    assert lock.count("--hash=sha256:") == made.wheels == 2


def test_the_sbom_is_valid_cyclonedx_with_licences_digests_and_dependencies(made: Bundle) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (made.folder / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == "emr-fl"
    assert bom["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    (helper,) = bom["components"]
    assert helper["purl"] == "pkg:pypi/helper@9.9"
    assert helper["licenses"] == [{"license": {"name": "MIT License"}}]
    assert (
        helper["hashes"][0]["content"]
        == read_wheel(made.folder / "wheels/helper-9.9-py3-none-any.whl").sha256
    )
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert needs["pkg:pypi/emr-fl@9.9"] == ["pkg:pypi/helper@9.9"]


def test_the_same_wheels_give_the_same_sbom_and_the_same_archive(
    made: Bundle, wheels: Path, tmp_path: Path
) -> None:
    helper, project = sorted(read_wheels(wheels), key=lambda wheel: wheel.key, reverse=True)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert sbom_json(project, [helper], at) == sbom_json(project, [helper], at)
    copy = shutil.copytree(made.folder, tmp_path / made.folder.name)
    os.utime(copy / "PLATFORM", (1, 1))
    assert pack(made.folder, tmp_path / "a.tar") == pack(copy, tmp_path / "b.tar")
    with pytest.raises(UsageError):
        pack(copy, tmp_path / "b.tar")


def test_two_wheels_of_one_package_make_no_bundle(wheels: Path, tmp_path: Path) -> None:
    both = shutil.copytree(wheels, tmp_path / "both")
    shutil.copyfile(both / "helper-9.9-py3-none-any.whl", both / "Helper-9.9-py2.py3-none-any.whl")
    with pytest.raises(DataError, match=r"helper"):
        make_bundle(both / "emr_fl-9.9-py3-none-any.whl", Path("unused"), tmp_path / "out", wheels=both)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_what_is_no_wheel_is_said(tmp_path: Path) -> None:
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"a-1-py3-none-any\.whl"):
        read_wheels(tmp_path)


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        pytest.param(["License-Expression: MIT", "License: other"], "MIT", id="expression first"),
        pytest.param(["License: BSD"], "BSD", id="short name"),
        pytest.param(
            ["License: UNKNOWN", "Classifier: License :: OSI Approved :: ISC License (ISCL)"],
            "ISC License (ISCL)",
            id="classifier",
        ),
        pytest.param([], "", id="none"),
    ],
)
def test_where_the_licence_comes_from(tmp_path: Path, lines: list[str], licence: str) -> None:
    assert read_wheel(write_wheel(tmp_path, "some", "", *lines)).licence == licence


# --- installing ----------------------------------------------------------------------------------------------------------------


def test_it_installs_into_a_fresh_environment_without_an_index(made: Bundle, bundle: Path) -> None:
    done = install(bundle, made.digest)
    assert done.returncode == 0, done.stderr
    assert "emr-fl 9.9 helped" in done.stdout
    again = install(bundle)
    assert again.returncode == 2
    assert "something already" in again.stderr


def tamper(bundle: Path) -> None:
    path = bundle / "wheels" / "helper-9.9-py3-none-any.whl"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def replace_wheel(bundle: Path) -> None:
    """Another helper, and checksums that fit it: the lock still names the first."""
    write_wheel(bundle / "wheels", "helper", "NAME = 'hostile'\n")
    sums(bundle)


def replace_all(bundle: Path) -> None:
    """Wheel, lock and checksums: only the digest from elsewhere tells."""
    write_wheel(bundle / "wheels", "helper", "NAME = 'hostile'\n")
    (bundle / "requirements.lock").write_text(lock_text(read_wheels(bundle / "wheels")))
    sums(bundle)


def no_hash(bundle: Path) -> None:
    lock = (bundle / "requirements.lock").read_text()
    (bundle / "requirements.lock").write_text(lock.replace("emr-fl==9.9 \\\n", "emr-fl==9.9\n# "))
    sums(bundle)


@pytest.mark.parametrize(
    ("damage", "status", "says"),
    [
        pytest.param(tamper, 3, "changed", id="tampered wheel"),
        pytest.param(replace_wheel, 3, "pip refused", id="replaced wheel, sums renewed"),
        pytest.param(replace_all, 3, "digest that you gave", id="everything replaced"),
        pytest.param(no_hash, 3, "pip refused", id="package without a hash"),
        pytest.param(
            lambda b: (b / "wheels/helper-9.9-py3-none-any.whl").unlink(), 3, "missing", id="missing"
        ),
        pytest.param(lambda b: (b / "wheels/x.pth").write_text("import os"), 3, "does not list", id="added"),
        pytest.param(lambda b: (b / "wheels/x").symlink_to("/etc"), 3, "does not list", id="link added"),
        pytest.param(lambda b: (b / "SHA256SUMS").unlink(), 3, "SHA256SUMS is missing", id="no sums"),
        pytest.param(
            lambda b: [(b / "PLATFORM").write_text("cp312 linux x86_64\n"), sums(b)],
            2,
            "this is",
            id="platform",
        ),
    ],
)
def test_a_bundle_that_is_not_what_it_says_installs_nothing(
    made: Bundle, bundle: Path, damage: Callable[[Path], object], status: int, says: str
) -> None:
    damage(bundle)
    done = install(bundle, *([made.digest] if damage is replace_all else []))
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert not (bundle.parent / "venv").exists()
