"""A federation whose sites keep their records each in another way, from preflight to the trained model."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import xlsxwriter

from conftest import write_notes
from emr_fl_client.join.check import check
from emr_fl_client.join.place import Places
from emr_fl_deploy.provision.provisioning import provision
from emr_fl_deploy.simulate.preflight import check_sources, read_all
from emr_fl_shared.config.loading import load_settings
from emr_fl_shared.config.settings import Settings
from emr_fl_shared.errors import DataError
from federation_kits import settings_of

NAMES = ("clinic-sql", "clinic-xlsx", "clinic-jsonl", "clinic-parquet")


def rows_of(folder: Path, seed: int) -> list[list[str]]:
    write_notes(folder / "notes.csv", 60, seed)
    with (folder / "notes.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def to_sqlite(path: Path, rows: list[list[str]]) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE visits (text TEXT, labels TEXT)")
        connection.executemany("INSERT INTO visits VALUES (?, ?)", rows[1:])
    connection.close()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with a site of each kind and a standard set in a workbook."""
    folder = tmp_path / "study"
    folder.mkdir()
    to_sqlite(folder / "visits.db", rows_of(folder, 1))
    for name, seed in (("visits.xlsx", 2), ("standard.xlsx", 3)):
        with xlsxwriter.Workbook(folder / name) as book:
            sheet = book.add_worksheet("门诊")
            for number, row in enumerate(rows_of(folder, seed)):
                sheet.write_row(number, 0, row)
    with (folder / "visits.jsonl").open("w", encoding="utf-8") as stream:
        for text, label in rows_of(folder, 4)[1:]:
            stream.write(json.dumps({"text": text, "labels": [label]}) + "\n")
    texts, labels = zip(*rows_of(folder, 5)[1:], strict=True)
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "labels": labels}), folder / "visits.parquet")
    (folder / "federation.toml").write_text(
        """
[federation]
name = "mixed"

[labels]
taxonomy = "column"

[evaluation.sets]
standard = "standard.xlsx"

[sites.clinic-sql]
source = "sqlite:///visits.db"
query = "SELECT text, labels FROM visits WHERE text <> '王小明'"

[sites.clinic-xlsx]
source = "visits.xlsx"
sheet = "门诊"

[sites.clinic-jsonl]
source = "visits.jsonl"

[sites.clinic-parquet]
source = "visits.parquet"
""",
        encoding="utf-8",
    )
    return folder


def settings_in(folder: Path) -> Settings:
    return load_settings(folder / "federation.toml", environment={}).with_paths_from(folder)


def test_preflight_reads_every_kind(mixed: Path) -> None:
    check_sources(settings_in(mixed))
    assert read_all(settings_in(mixed)) == []


def test_preflight_says_which_database_is_not_there(mixed: Path) -> None:
    (mixed / "visits.db").unlink()
    check_sources(settings_in(mixed))
    with pytest.raises(DataError, match=r"visits\.db: no such file"):
        read_all(settings_in(mixed))


def test_simulate_trains_on_every_kind(mixed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["--data", str(mixed), "--rounds", "1", "--no-baselines", "--out", str(run)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "emr_fl_deploy.cli", "simulate", *arguments, "--set", "evaluation.adversarial.texts=0"],
        capture_output=True, text=True, encoding="utf-8", timeout=400,
        env={**os.environ, "EMR_FL_LANG": "en", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert set(results["sites"]) == set(NAMES)
    assert all(site["n_train"] + site["n_validation"] == 60 for site in results["sites"].values())
    assert "王小明" not in (run / "report.html").read_text(encoding="utf-8")


def test_client_check_reads_the_site_s_own_database(tmp_path: Path) -> None:
    provision(settings_of(), tmp_path / "kits")
    kit = tmp_path / "kits" / "sites" / "hospital-a"
    to_sqlite(kit / "his.db", rows_of(tmp_path, 1))
    (kit / "SITE.toml").write_text('source = "sqlite:///his.db"\ntable = "visits"\n', encoding="utf-8")
    found = {item.subject: item for item in check(Places("hospital-a", kit), network=False)}
    assert (found["records"].level, found["records"].seen) == ("ok", "60 read")
    (kit / "SITE.toml").write_text('source = "sqlite:///his.db"\ntable = "none"\n', encoding="utf-8")
    found = {item.subject: item for item in check(Places("hospital-a", kit), network=False)}
    assert found["records"].level == "stop" and "no such table" in found["records"].seen
