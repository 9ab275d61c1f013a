"""Kits of two small federations, made once, and copies of them to attack."""

from __future__ import annotations

import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emr_fl_deploy.provision.provisioning import provision
from emr_fl_shared.config import Settings, settings_from

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SITES = ("hospital-a", "hospital-b")


def settings_of(name: str = "study", **server: object) -> Settings:
    section = {"addresses": ["fl.example.org", "10.0.0.1"], "sites": list(SITES), **server}
    return settings_from({"federation": {"name": name}, "server": section})


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in a folder: mode and contents (of a link: where it points)."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            str(path.readlink()).encode()
            if path.is_symlink()
            else b""
            if path.is_dir()
            else path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mine` and `other`: two federations with the same names, and `requests`: one without keys of sites."""
    folder = tmp_path_factory.mktemp("federations")
    provision(settings_of(), folder / "mine", now=NOW)
    provision(settings_of(), folder / "other", now=NOW)
    provision(settings_of(), folder / "requests", keys="requests", now=NOW)
    return folder


@pytest.fixture
def federations(pristine: Path, tmp_path: Path) -> Path:
    """A copy of `pristine` that a test may change."""
    return Path(shutil.copytree(pristine, tmp_path / "federations"))


@pytest.fixture
def kits(federations: Path) -> Path:
    return federations / "mine"
