"""What a wheel says of itself, read from the file, without installing it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from itertools import pairwise
from pathlib import Path

from emr_fl_shared.errors import DataError, EmrFlError
from emr_fl_shared.messages import tr

_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_METADATA_LIMIT = 4 * 2**20
_LICENCE_LENGTH = 100
"""Some packages put the whole text of their licence into the field for its name."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel. `requires` are its requirements as they stand, with markers; `licence` is empty where none is named."""

    path: Path
    name: str
    version: str
    sha256: str
    licence: str
    summary: str
    home: str
    requires: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name as indexes compare it."""
        return canonical(self.name)


def canonical(name: str) -> str:
    """`Foo.Bar_baz` → `foo-bar-baz`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def gather_wheels(project: Path, constraints: Path, folder: Path) -> None:
    """Have pip put `project` (a wheel) and everything that it stands on into `folder`; what has no wheel is built here.

    pip's own configuration says where packages come from. Raises `EmrFlError` with pip's last line when it fails.
    """
    command = [sys.executable, "-P", "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--wheel-dir", str(folder), "--constraint", str(constraints), str(project)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise EmrFlError(
            tr("pip can't gather the packages", "pip 无法收集所需软件包"),
            where=str(project),
            got=errors[-1] if errors else f"exit {done.returncode}",
            do=tr("needs a network or a local mirror, once", "需要联网或使用本地镜像（一次即可）"),
        )


def read_wheels(folder: Path) -> list[Wheel]:
    """All wheels of a folder, by name. Raises `DataError` for a file that is no wheel, or a package that is there twice."""
    wheels = sorted(
        (read_wheel(path) for path in folder.iterdir()), key=lambda wheel: (wheel.key, wheel.path.name)
    )
    for first, second in pairwise(wheels):
        if first.key == second.key:
            raise DataError(
                tr("two wheels of one package", "同一软件包有两个 wheel"),
                where=str(folder),
                got=f"{first.path.name}, {second.path.name}",
            )
    return wheels


def read_wheel(path: Path) -> Wheel:
    """Name, version, licence and requirements of one wheel. Raises `DataError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = [info for info in archive.infolist() if _METADATA.fullmatch(info.filename)]
            if member.file_size > _METADATA_LIMIT:
                raise ValueError
            metadata = BytesHeaderParser().parsebytes(archive.read(member))
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            tr("not a wheel", "不是 wheel 文件"), where=str(path), got=type(error).__name__
        ) from None
    return Wheel(
        path=path,
        name=str(metadata["Name"]),
        version=str(metadata["Version"]),
        sha256=digest,
        licence=_licence(metadata),
        summary=str(metadata["Summary"] or ""),
        home=_home(metadata),
        requires=tuple(str(line) for line in metadata.get_all("Requires-Dist", ())),
    )


def _licence(metadata: Message) -> str:
    """The SPDX expression if there is one, else the short name, else the classifiers."""
    expression = str(metadata["License-Expression"] or "").strip()
    named = str(metadata["License"] or "").strip()
    classified = [
        str(line).rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", ())
        if str(line).startswith("License :: ") and str(line) != "License :: OSI Approved"
    ]
    if expression:
        return expression
    if named and named.casefold() != "unknown" and len(named) <= _LICENCE_LENGTH and "\n" not in named:
        return named
    if classified:
        return ", ".join(classified)
    return named.splitlines()[0].strip()[:_LICENCE_LENGTH] if named else ""


def _home(metadata: Message) -> str:
    """The project's page: the old field or the first of the new ones that says so."""
    links = dict(_pair(str(line)) for line in metadata.get_all("Project-URL", ()))
    for label in ("homepage", "home", "source", "repository", "source code"):
        if label in links:
            return links[label]
    return str(metadata["Home-page"] or "")


def _pair(line: str) -> tuple[str, str]:
    label, _, link = line.partition(",")
    return label.strip().lower(), link.strip()


def lock_text(wheels: Sequence[Wheel]) -> str:
    """A requirements file in which every package has one version and one SHA-256: pip takes nothing else."""
    lines = ["# pip install --no-index --find-links wheels --require-hashes -r requirements.lock"]
    lines += [f"{wheel.key}=={wheel.version} \\\n    --hash=sha256:{wheel.sha256}" for wheel in wheels]
    return "\n".join(lines) + "\n"
