"""`make airgap`: everything that a machine without internet needs to install emr-fl, in one folder.

    wheels/             emr-fl and everything it stands on, for one Python and one platform
    requirements.lock   one version and one SHA-256 a package
    PLATFORM            what the wheels are for, as install.sh compares it
    sbom.cdx.json       CycloneDX: packages, versions, licences, digests, dependencies
    INSTALL.md install.sh
    SHA256SUMS          of every other file

Who compares the SHA-256 of SHA256SUMS through another channel has compared everything.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tarfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from emr_fl_deploy.airgap.sbom import sbom_json
from emr_fl_deploy.airgap.wheels import Wheel, gather_wheels, lock_text, read_wheel, read_wheels
from emr_fl_deploy.provision.whole_folder import made_whole
from emr_fl_shared.errors import DataError, UsageError
from emr_fl_shared.messages import tr

SUMS = "SHA256SUMS"
GUIDES = ("INSTALL.md", "install.sh")


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was made. `digest` is the SHA-256 of SHA256SUMS: what two people compare."""

    folder: Path
    wheels: int
    size: int
    digest: str
    without_licence: tuple[str, ...]


def make_bundle(project: Path, constraints: Path, out: Path, *, wheels: Path | None = None) -> Bundle:
    """Make the bundle of `project`, an emr-fl wheel, in `out`, which is complete or not there.

    With `wheels`, a folder that holds them all, pip is not asked. Raises UsageError (`out` exists), DataError (no wheel)
    or EmrFlError (pip fails).
    """
    if not project.is_file():
        raise DataError(tr("no such file", "没有这个文件"), where=str(project), do="make airgap")
    name = read_wheel(project).key
    with made_whole(out) as folder:
        inside = folder / "wheels"
        inside.mkdir()
        if wheels is None:
            gather_wheels(project, constraints, inside)
        else:
            for path in sorted(wheels.glob("*.whl")):
                shutil.copyfile(path, inside / path.name)
        found = read_wheels(inside)
        (main,) = [wheel for wheel in found if wheel.key == name]
        others = [wheel for wheel in found if wheel is not main]
        _write(folder, main, others)
        digest = _write_sums(folder)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    unknown = tuple(wheel.key for wheel in found if not wheel.licence)
    return Bundle(out, len(found), size, digest, unknown)


def pack(bundle: Path, archive: Path) -> str:
    """The folder as one uncompressed tar (wheels are compressed already); returns its SHA-256.

    The same files give the same bytes, whoever packs them and when. Raises UsageError if `archive` exists.
    """
    if archive.exists():
        raise UsageError(tr("there is something already", "已经存在"), where=str(archive))
    part = archive.with_name(archive.name + ".part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in (bundle, *sorted(bundle.rglob("*"))):
            tar.add(path, str(path.relative_to(bundle.parent)), recursive=False, filter=_anonymous)
    with open(part, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    part.rename(archive)
    return digest


def this_platform() -> str:
    """`cp311 linux x86_64`: what the wheels of this machine's pip are for."""
    return f"cp{sys.version_info.major}{sys.version_info.minor} {sys.platform} {platform.machine()}"


def _write(folder: Path, main: Wheel, others: list[Wheel]) -> None:
    (folder / "requirements.lock").write_text(lock_text([main, *others]), encoding="utf-8")
    (folder / "PLATFORM").write_text(this_platform() + "\n", encoding="ascii")
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())), UTC)
    (folder / "sbom.cdx.json").write_text(sbom_json(main, others, made), encoding="utf-8")
    for guide in GUIDES:
        (folder / guide).write_bytes(files("emr_fl_deploy.airgap").joinpath(guide).read_bytes())
    # not secret, unlike kits: whoever may install reads them
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _write_sums(folder: Path) -> str:
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                lines.append(
                    f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder).as_posix()}\n"
                )
    data = "".join(lines).encode()
    (folder / SUMS).write_bytes(data)
    (folder / SUMS).chmod(0o644)
    return hashlib.sha256(data).hexdigest()


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 315532800  # 1980, as in wheels
    info.pax_headers = {}
    return info
