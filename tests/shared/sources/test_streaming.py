"""Reading in pieces: memory stays flat, and a file decides the same whatever the size of the pieces."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.errors import DataError
from emr_fl_shared.sources import (
    RereadSource,
    delimited,
    encoding,
    iter_records,
    read_records,
    same_reading,
)

ROWS = 30_000
LIMIT_MB = 12
"""What reading may take beside the program; the records of all rows together take more than 20 MB."""

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")

READ = r"""
import json, re, sys
from pathlib import Path
from emr_fl_shared.sources import Source, iter_records, read_records
read = read_records if sys.argv[3] == "list" else iter_records
iter_records(Source(sys.argv[4], table=sys.argv[2]))  # what is imported late
def peak():  # of this program; getrusage also knows the one that started it
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
records, report = read(Source(sys.argv[1], table=sys.argv[2]))
count = sum(1 for _ in records)
print(json.dumps([count, (peak() - before) / 1024]))
"""


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")


def export(folder: Path, kind: str, rows: int, name: str) -> tuple[str, str]:
    """(source, table) of a file of invented visits."""
    history = "受凉后出现咳嗽，无发热。" * 12
    path = folder / f"{name}.{kind}"
    if kind == "db":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (主诉 TEXT, 现病史 TEXT, 标签 TEXT)")
            connection.executemany(
                "INSERT INTO t VALUES (?, ?, 'x')", ((f"咳{n}", history) for n in range(rows))
            )
        connection.close()
        return f"sqlite:///{path}", "t"
    with path.open("w", encoding="gb18030", newline="") as stream:
        if kind == "csv":
            stream.write("主诉,现病史,标签\n")
            stream.writelines(f'咳{n},"{history}",x\n' for n in range(rows))
        else:
            line = json.dumps({"现病史": history, "标签": "x"}, ensure_ascii=False)[1:]
            stream.writelines(f'{{"主诉": "咳{n}", {line}\n' for n in range(rows))
    return str(path), ""


def megabytes(folder: Path, kind: str, how: str) -> float:
    source, table = export(folder, kind, ROWS, "large")
    small, _ = export(folder, kind, 3, "small")
    done = subprocess.run(
        [sys.executable, "-P", "-c", READ, source, table, how, small],
        check=True,
        capture_output=True,
        text=True,
    )
    count, used = json.loads(done.stdout)
    assert count == ROWS
    print(kind, how, used)
    return float(used)


@needs_proc
@pytest.mark.parametrize("kind", ["csv", "jsonl", "db"])
def test_memory_stays_flat(tmp_path: Path, kind: str) -> None:
    assert megabytes(tmp_path, kind, "iterator") < LIMIT_MB


@needs_proc
def test_the_measurement_sees_a_list(tmp_path: Path) -> None:
    assert megabytes(tmp_path, "csv", "list") > LIMIT_MB


SNIPPETS = [
    "主诉,标签\n",
    "咳嗽,x\n",
    '"头痛\n三天",y\r\n',
    "联通,z\n",
    "\n",
    '"',
    "谩,é\n",
    "a\tb\n",
    "\x1a",
    "，",
    "\x00",
    "﻿",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(SNIPPETS), max_size=8),
    st.sampled_from(["utf-8", "gb18030", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(
        [b"", b"\x80", b"\xe4", b"\xe4A", b"\xe4\xb8A", b"\xe4\xb8\xad\xff", b"\x81", b"\x00\xd8A"]
    )
    | st.binary(max_size=3),
    st.integers(1, 7),
)
def test_pieces_of_any_size_decide_the_same(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], name: str, junk: bytes, piece: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "a.csv"
    path.write_bytes(("主诉,标签\n" + "".join(parts)).encode(name) + junk)

    def outcome() -> tuple[object, ...]:
        try:
            records, report = read_records(path)
        except DataError as error:
            return (str(error),)
        return [record.chief_complaint for record in records], report.to_json()

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_PIECE", piece)
        assert outcome() == whole


def test_the_encoding_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,labels\n" + b"cough,x\n" * 140_000 + "咳嗽,呼吸\n".encode("gb18030"))
    records, report = read_records(path)
    assert (report.encoding, records[-1].text, len(records)) == ("gb18030", "咳嗽", 140_001)


def test_an_open_quotation_mark_at_the_end_is_found_before_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("主诉,标签\n" + "咳嗽,x\n" * 5000 + '"痛,y\n热,z\n', encoding="utf-8")
    with pytest.raises(DataError, match="row 5002"):
        iter_records(path)


def test_an_old_end_of_file_mark_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("主诉,标签\r\n咳嗽,x\r\n\x1a\x1a".encode("gb18030"))
    _, report = read_records(path)
    assert (report.rows, report.kept) == (1, 1)


def test_a_cell_of_ten_megabytes_is_said_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("主诉,标签\n咳嗽,x\n" + "痛" * 3_500_000 + ",y\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 3"):
        read_records(path)


def test_the_delimiter_is_found_in_the_first_lines_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = delimited._SAMPLE_LINES + 500
    path.write_text("主诉|标签\n" + "咳嗽，a,b;c|x\n" * rows, encoding="utf-8")
    records, report = read_records(path)
    assert (report.delimiter, len(records)) == ("|", rows)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_text('主诉,标签\n"咳\n嗽",x\n', encoding="gb18030"))
    thread.start()
    records, report = read_records(path)
    thread.join(10)
    assert (records[0].chief_complaint, report.encoding) == ("咳\n嗽", "gb18030")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_text("主诉,标签\n咳嗽,x\n", encoding="utf-8"))
    thread.start()
    source = RereadSource(path)
    readings = [[record.content() for record in source.records()[0]] for _ in range(3)]
    thread.join(10)
    assert readings[0] == readings[1] == readings[2] and len(readings[0]) == 1


def test_another_reading_of_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("主诉,标签\n咳嗽,x\n", encoding="utf-8")
    source = RereadSource(path)
    reports = []
    for more in ("头痛,y\n", ""):
        records, report = source.records()
        assert list(records)
        reports.append(report)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(more)
    with pytest.raises(DataError, match="changed while it was read"):
        same_reading(path, *reports)
    same_reading(path, reports[1], reports[1])


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("主诉,标签\n", encoding="utf-8")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="can't be read"):
        read_records(path)
