"""Shared by all tests: English messages, and a small federation written by hand as a researcher would."""

from __future__ import annotations

import csv
import random
import signal
from pathlib import Path

import pytest

from emr_fl_shared.messages import set_language

SYMPTOMS = {
    "呼吸": ["咳嗽", "咳痰", "气促", "喘息", "胸闷"],
    "消化": ["腹痛", "腹泻", "恶心", "反酸", "腹胀"],
    "神经": ["头痛", "头晕", "失眠", "手抖", "抽搐"],
}


def pytest_configure() -> None:
    """A shell's background jobs are born deaf to Ctrl-C, and so would be every command that the tests start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")
    set_language(None)  # an earlier test may have chosen one for the process


def write_notes(path: Path, rows: int, seed: int) -> None:
    """A CSV with the two columns `text` and `labels`: invented one-line notes of three classes."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "labels"])
        for _ in range(rows):
            label = draw.choice(sorted(SYMPTOMS))
            found = draw.sample(SYMPTOMS[label], 2)
            other = draw.choice(SYMPTOMS[draw.choice(sorted(SYMPTOMS))])
            writer.writerow([f"{found[0]}{draw.randint(2, 9)}天，伴{found[1]}，无{other}。", label])


@pytest.fixture
def hand_written(tmp_path: Path) -> Path:
    """A folder with two sites, a standard set and a federation.toml, nothing else."""
    folder = tmp_path / "study"
    folder.mkdir()
    for name, rows, seed in (("north", 60, 1), ("south", 40, 2), ("standard", 60, 3)):
        write_notes(folder / f"{name}.csv", rows, seed)
    (folder / "federation.toml").write_text(
        """
[federation]
name = "study"

[labels]
taxonomy = "column"

[evaluation.sets]
standard = "standard.csv"

[sites.north]
source = "north.csv"

[sites.south]
source = "south.csv"
""",
        encoding="utf-8",
    )
    return folder
