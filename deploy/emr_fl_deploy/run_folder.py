"""What a run folder of a simulation and of a server have in common: its files, whether it may be begun, whether it is finished."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from emr_fl_shared.config import Settings
from emr_fl_shared.config.loading import differences
from emr_fl_shared.errors import SettingsError, UsageError
from emr_fl_shared.messages import tr

RUNS = Path("runs")
SETTINGS = "settings.toml"
RESULTS = "results.json"
BASELINES_PENDING = "baselines_pending"
"""Stands in the results while the baselines beside them are still being run."""


def finished(folder: Path) -> bool:
    """Whether the run has its results, and beside them the baselines that were to be run."""
    path = folder / RESULTS
    if not path.is_file():
        return False
    try:
        results = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True  # written once, damaged since: nothing says that it was stopped
    return not (isinstance(results, dict) and results.get(BASELINES_PENDING) is True)


def begun(*marks: str) -> list[Path]:
    """Folders under `runs/` that hold one of the files `marks`, the one written to last at the end."""
    found = [path for mark in marks for path in RUNS.glob(f"*/{mark}")]
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def check_empty(folder: Path, *, besides: Collection[str] = ()) -> None:
    """Raises `UsageError` for a folder that holds anything but files named in `besides`."""
    if folder.exists() and (
        not folder.is_dir() or any(path.name not in besides for path in folder.iterdir())
    ):
        raise UsageError(
            tr("the run folder is not empty", "运行目录非空"),
            where=str(folder),
            do=tr("choose another --out, or continue it with --resume", "请换一个 --out，或用 --resume 继续"),
        )


def nothing_to_continue(folder: Path) -> UsageError:
    """The error for a folder that no run was begun in."""
    return UsageError(
        tr("there is no run to continue", "没有可继续的运行"),
        where=str(folder),
        expected=SETTINGS,
        do=tr("give the run folder with --out", "请用 --out 指定运行目录"),
    )


def other_settings(where: Path, *places: str) -> SettingsError:
    """The error for a run that is continued with other settings in these dotted places."""
    return SettingsError(
        tr("a run continues with its own settings only", "运行只能按原设置继续"),
        where=str(where),
        got=", ".join(places),
        do=tr("leave the settings out, or start a new run", "请去掉这些设置，或开始新的运行"),
    )


def check_same(own: Settings, given: Settings, where: Path) -> None:
    """Raises `other_settings` unless a run's own settings are the ones given."""
    if given != own:
        raise other_settings(where, *differences(own.as_toml_dict(), given.as_toml_dict()))
