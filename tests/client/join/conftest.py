"""A site's kit that is valid now, with an export that a test may replace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import write_notes
from emr_fl_deploy.provision.provisioning import provision
from federation_kits import settings_of


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("provisioned") / "kits"
    provision(settings_of(), folder)
    return folder


@pytest.fixture
def kit(provisioned: Path, tmp_path: Path) -> Path:
    """The kit of hospital-a with 60 labelled records."""
    folder = Path(shutil.copytree(provisioned / "sites" / "hospital-a", tmp_path / "hospital-a"))
    write_notes(folder / "records.csv", 60, 1)
    return folder
