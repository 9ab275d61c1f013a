"""Broken exports through the real commands: one clear message each, every row accounted for, no identifier shown, nothing left behind."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import postgresql
from broken_exports import BOMBS, READ, REFUSED, SECRETS, Read, Refused, csv_file, database, rows_with
from clinic_export import HEADER, Row, clean_rows, write_export
from emr_fl_client.join.check import check
from emr_fl_client.join.place import Places
from emr_fl_deploy.cli import run
from emr_fl_deploy.provision.provisioning import provision
from emr_fl_shared.sources import read_records
from federation_kits import settings_of

BY_REASON = {"file.rows", "records.repaired"}
NOT_IN_QUARANTINE = {"above_header"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "hospital"
    folder.mkdir()
    return folder


def arguments(source: Path) -> list[str]:
    return ["--config", str(source)] if source.name == "SITE.toml" else [str(source)]


def listed(folder: Path) -> list[str]:
    """Everything in the folder but the site's own key."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "state" not in path.parts)


def shows_nothing(*outputs: str) -> None:
    for output in outputs:
        assert not [secret for secret in SECRETS if secret in output]
        assert "Traceback" not in output


def table(path: Path) -> list[list[str]]:
    before = csv.field_size_limit(1 << 30)  # a cell that was left out for its length stands there as it is
    try:
        return list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    finally:
        csv.field_size_limit(before)


def said_of(file: dict[str, Any], reasons: set[str]) -> dict[str, int]:
    """Key -> count of findings that are not ok, without those that repeat the reader's own counts."""
    own = {"file.rows", *(f"file.{reason}" for reason in reasons)}
    return {
        finding["key"]: finding["count"]
        for finding in file["findings"]
        if finding["level"] != "ok" and finding["key"] not in own
    }


@pytest.mark.parametrize("broken", READ, ids=lambda broken: broken.name)
def test_every_row_is_kept_or_left_out_with_a_reason(
    place: Path, capsys: pytest.CaptureFixture[str], broken: Read
) -> None:
    source = broken.make(place)
    before = listed(place)
    code = run(["data", "check", *arguments(source), "--json", "--quarantine", str(place / "left-out")])
    shown = capsys.readouterr()
    shows_nothing(shown.out, shown.err)
    (file,) = json.loads(shown.out)["files"]
    read = file["source"]
    assert read["rows"] == read["kept"] + sum(read["skipped"].values())
    assert (code, read["rows"], read["skipped"], read["repaired"]) == (
        broken.code,
        broken.rows,
        broken.left_out,
        broken.repaired,
    )
    assert said_of(file, {*read["skipped"], *read["repaired"]}) == broken.found
    quarantined = sum(count for reason, count in broken.left_out.items() if reason not in NOT_IN_QUARANTINE)
    assert file["quarantine"]["rows"] == quarantined
    if quarantined:
        rows = table(Path(file["quarantine"]["file"]))[1:]
        assert len(rows) == quarantined and all(row[0].isdigit() and row[1] for row in rows)
    expected = [
        *before,
        *(["left-out", f"left-out/{Path(file['quarantine']['file']).name}"] if quarantined else []),
    ]
    assert listed(place) == sorted(expected)


@pytest.mark.parametrize("broken", READ, ids=lambda broken: broken.name)
def test_every_row_is_in_the_copy_or_left_out_with_a_reason(
    place: Path, capsys: pytest.CaptureFixture[str], broken: Read
) -> None:
    source = broken.make(place)
    before = listed(place)
    copy, report = place / "copy.csv", place / "report.json"
    assert run(["data", "deidentify", *arguments(source), "--out", str(copy), "--report", str(report)]) == 0
    shown = capsys.readouterr()
    shows_nothing(shown.out, shown.err, copy.read_text("utf-8-sig"), report.read_text("utf-8"))
    told = json.loads(report.read_text("utf-8"))
    read = told["source"]
    assert read["rows"] == broken.rows == read["kept"] + sum(read["skipped"].values())
    assert read["kept"] == broken.rows - sum(broken.left_out.values()) + broken.unlabelled
    assert told["records"] == read["kept"] == len(read_records(copy, require_labels=False)[0])
    assert listed(place) == sorted([*before, "copy.csv", "report.json"])


@pytest.mark.parametrize("broken", [*REFUSED, *BOMBS], ids=lambda broken: broken.name)
def test_one_clear_message_and_nothing_left_behind(
    place: Path, capsys: pytest.CaptureFixture[str], broken: Refused
) -> None:
    source = broken.make(place)
    before = listed(place)
    copy = [
        "--out",
        str(place / "copy.csv"),
        "--report",
        str(place / "report.html"),
        "--audit-list",
        str(place / "again.csv"),
    ]
    assert run(["data", "deidentify", *arguments(source), *copy]) == broken.code
    shown = capsys.readouterr()
    shows_nothing(shown.out, shown.err)
    assert shown.out == "" and shown.err.count("error:") == 1
    for part in broken.says:
        assert part in shown.err
    assert "→" in shown.err or "expected" in shown.err, "what to do"
    assert listed(place) == before

    assert (
        run(["data", "check", *arguments(source), "--json", "--quarantine", str(place / "left-out")])
        == broken.code
    )
    shown = capsys.readouterr()
    shows_nothing(shown.out, shown.err)
    if broken.code == 1:
        (file,) = json.loads(shown.out)["files"]
        (finding,) = file["findings"]
        assert (file["source"], finding["key"], finding["level"]) == (None, "file.unreadable", "stop")
        said = re.sub(r"\s+", " ", finding["seen"])
    else:
        assert shown.out == ""
        said = shown.err
    for part in broken.says:
        assert part in said + finding["do"] if broken.code == 1 else part in said
    left = [name for name in listed(place) if not name.startswith("left-out")]
    assert left == before

    assert run(["--lang", "zh", "data", "deidentify", *arguments(source), *copy]) == broken.code
    shown = capsys.readouterr()
    shows_nothing(shown.out, shown.err)
    assert shown.err.startswith("错误") and re.search(r"[一-鿿]{3}", shown.err)
    assert listed(place) == left_listing(place, before)


def left_listing(place: Path, before: list[str]) -> list[str]:
    """What was there, and the rows that the check was asked to keep."""
    return sorted([*before, *(name for name in listed(place) if name.startswith("left-out"))])


BOUNDED = r"""
import json, re, resource, sys
from pathlib import Path
limit = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # a bomb that goes off hits this program only
from emr_fl_deploy.cli import run
source, copy = sys.argv[2:]
codes = [run(["data", "check", source]), run(["data", "deidentify", source, "--out", copy])]
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([codes, peak]))
"""
ADDRESSES_MB = 3072
MORE_MB = 150
"""What a file of ten megabytes of text, or a bomb of two hundred, may take beside the program and a small export."""


def bounded(source: Path) -> tuple[list[int], float]:
    """Exit codes of `data check` and `data deidentify` in a program of their own, and its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", BOUNDED, str(ADDRESSES_MB), str(source), str(source.parent / "copy.csv")],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shows_nothing(done.stdout, done.stderr)
    codes, peak = json.loads(done.stdout.splitlines()[-1])
    return codes, peak


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> float:
    """MB at the peak of a small clean export."""
    codes, peak = bounded(csv_file()(tmp_path_factory.mktemp("small")))
    assert codes == [0, 0]
    return peak


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")


@needs_proc
@pytest.mark.parametrize("broken", BOMBS, ids=lambda broken: broken.name)
def test_a_bomb_takes_no_memory(place: Path, small: float, broken: Refused) -> None:
    source = broken.make(place)
    codes, peak = bounded(source)
    assert codes == [1, 1] and peak < small + MORE_MB
    assert listed(place) == [source.name]


@needs_proc
@pytest.mark.parametrize(
    "broken", [broken for broken in READ if "ten megabytes" in broken.name], ids=lambda broken: broken.name
)
def test_a_cell_of_ten_megabytes_takes_little_memory(place: Path, small: float, broken: Read) -> None:
    codes, peak = bounded(broken.make(place))
    assert codes == [0, 0] and peak < small + MORE_MB


def command(*given: str) -> list[str]:
    return [sys.executable, "-P", "-m", "emr_fl_deploy.cli", *given]


@pytest.mark.parametrize("name", ["most of them at once", "a database"])
def test_the_installed_commands_read_it(place: Path, name: str) -> None:
    (broken,) = [broken for broken in READ if broken.name == name]
    source = arguments(broken.make(place))
    checked = subprocess.run(
        command("data", "check", *source), capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    kept = broken.rows - sum(broken.left_out.values())
    assert f"{broken.rows} rows = {kept} kept" in checked.stdout
    copied = subprocess.run(
        command("data", "deidentify", *source, "--out", str(place / "copy.csv")),
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert (copied.returncode, copied.stderr) == (0, "")
    shows_nothing(checked.stdout, copied.stdout)


@pytest.mark.parametrize("name", ["a zip bomb named xlsx", "rows of two encodings", "a damaged database"])
def test_the_installed_commands_refuse_it(place: Path, name: str) -> None:
    (broken,) = [broken for broken in (*REFUSED, *BOMBS) if broken.name == name]
    source = broken.make(place)
    before = listed(place)
    done = subprocess.run(
        command("data", "deidentify", *arguments(source), "--out", str(place / "copy.csv")),
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    shows_nothing(done.stdout, done.stderr)
    assert (done.returncode, done.stdout, done.stderr.count("error:")) == (broken.code, "", 1)
    assert listed(place) == before


LOADED = (
    "binary",
    "a workbook cut off",
    "a damaged Parquet file",
    "a bomb of entities",
    "a cell of ten megabytes",
    "one JSON list",
)


@pytest.mark.parametrize("name", LOADED)
def test_a_federation_does_not_start_with_it(
    hand_written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (broken,) = [broken for broken in (*REFUSED, *BOMBS) if broken.name == name]
    source = broken.make(hand_written)
    settings = hand_written / "federation.toml"
    settings.write_text(settings.read_text("utf-8").replace("north.csv", source.name), encoding="utf-8")
    out = tmp_path / "run"
    assert run(["simulate", "--data", str(hand_written), "--out", str(out), "--no-baselines"]) == 1
    errors = capsys.readouterr().err
    shows_nothing(errors)
    assert errors.count("error:") == 1 and source.name in errors
    for part in broken.says:
        assert part in errors
    assert not out.exists()


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits") / "kits"
    provision(settings_of(), folder)
    return folder / "sites" / "hospital-a"


@pytest.mark.parametrize("name", LOADED)
def test_client_check_says_it(kit: Path, name: str) -> None:
    (broken,) = [broken for broken in (*REFUSED, *BOMBS) if broken.name == name]
    source = broken.make(kit)
    (kit / "SITE.toml").write_text(f'source = "{source.name}"\n', encoding="utf-8")
    try:
        (found,) = [
            item for item in check(Places("hospital-a", kit), network=False) if item.subject == "records"
        ]
    finally:
        source.unlink()
    shows_nothing(f"{found.seen} {found.do}")
    assert found.level == "stop"
    for part in broken.says:
        assert part in f"{found.seen} {found.do}"


def many(rows: int) -> list[Row]:
    return [row for seed in range(rows // 80) for row in clean_rows(seed=seed + 1)]


def size(path: Path) -> int:
    """Bytes; 0 where the file has just gone."""
    return path.stat().st_size if path.exists() else 0


def while_it_writes(process: subprocess.Popen[str], place: Path, do: Callable[[], object]) -> tuple[int, str]:
    """Exit code and standard error of a copy that is disturbed once it has begun to write."""
    try:
        until = time.monotonic() + 120
        while (
            not any(map(size, place.glob(".copy.csv.*")))
            and process.poll() is None
            and time.monotonic() < until
        ):
            time.sleep(0.01)
        do()
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, errors


def test_a_database_that_goes_away_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if postgresql.binaries() is None:
        pytest.skip(postgresql.MISSING)
    monkeypatch.setenv("HIS_PASSWORD", postgresql.PASSWORD)
    with postgresql.running() as server:
        names = ", ".join(f'"{name}" text' for name in HEADER)
        server.run(f"CREATE TABLE visits ({names})", "GRANT SELECT ON visits TO reader")
        columns = ", ".join(f"'{value}'" for value in rows_with()[0].values())
        server.run(f"INSERT INTO visits SELECT {columns} FROM generate_series(1, 12000)")
        (place / "SITE.toml").write_text(
            f'source = "{server.url()}"\ntable = "visits"\npassword_env = "HIS_PASSWORD"\n', encoding="utf-8"
        )
        process = subprocess.Popen(
            command("data", "deidentify", "--config", str(place / "SITE.toml"), "--out", str(place / "copy.csv")),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        code, errors = while_it_writes(process, place, lambda: server.process.send_signal(signal.SIGQUIT))
    shows_nothing(errors)
    assert code == 1 and "went away while it was read" in errors and "nothing was kept" in errors
    assert listed(place) == ["SITE.toml"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_copy_that_is_stopped_leaves_nothing(place: Path, stop: signal.Signals) -> None:
    write_export(place / "export.csv", many(8000))
    process = subprocess.Popen(
        command("data", "deidentify", str(place / "export.csv"), "--out", str(place / "copy.csv")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    code, errors = while_it_writes(process, place, lambda: process.send_signal(stop))
    assert code == 130 and "Traceback" not in errors
    assert listed(place) == ["export.csv"]


CHANGING = (
    'query = "SELECT abs(random()) % 90 AS 年龄, iif(random() % 2, 主诉, NULL) AS 主诉, 诊断编码 FROM visits '
    'WHERE random() % 2"'
)


@pytest.mark.parametrize("name", ["check", "deidentify"])
def test_a_source_that_changes_between_two_readings_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    settings = database(CHANGING, lambda rows: rows.extend(many(8000)))(place)
    before = listed(place)
    more = ["--out", str(place / "copy.csv")] if name == "deidentify" else []
    assert run(["data", name, "--config", str(settings), *more]) == 1
    shown = capsys.readouterr()
    assert "changed while it was read" in re.sub(r"\s+", " ", shown.out + shown.err)
    shows_nothing(shown.out, shown.err)
    assert listed(place) == before


def test_there_are_fifty_and_each_has_a_name_of_its_own() -> None:
    names = [broken.name for broken in (*READ, *REFUSED, *BOMBS)]
    assert len(names) == len(set(names)) >= 50
