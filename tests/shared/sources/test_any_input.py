"""Arbitrary and mutated input of every parser between a hospital's data and its records: a result or an error of ours, nothing else."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.deidentify.roster import read_roster
from emr_fl_shared.errors import DataError, EmrFlError
from emr_fl_shared.labels import load_taxonomy, map_labels, parse_code
from emr_fl_shared.records import Record
from emr_fl_shared.sources import Source, read_records

OLD = (Path(__file__).parent / "files" / "outpatients.xls").read_bytes()
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12)


def _parquet() -> bytes:
    buffer = io.BytesIO()
    table = pyarrow.table(
        {"主诉": [f"咳{n}" for n in range(40)], "年龄": list(range(40)), "标签": [["x", "y"]] * 40}
    )
    pyarrow.parquet.write_table(table, buffer, row_group_size=10)
    return buffer.getvalue()


PARQUET = _parquet()


def damaged(data: bytes, changes: list[tuple[float, int]], cut_off: bool) -> bytes:
    """`data` with some bytes changed, up to the first change if it is cut off."""
    found = bytearray(data)
    for place, value in changes:
        found[int(place * len(data))] = value
    return bytes(found[: int(changes[0][0] * len(data))] if cut_off and changes else found)


def reads_or_refuses(source: Source | Path) -> None:
    try:
        records, report = read_records(source, require_labels=False)
    except DataError:
        return
    assert len(records) == report.kept == report.rows - report.skipped.total()


@pytest.mark.parametrize("name", ["a.parquet", "a.xls"])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(CHANGES, st.booleans())
def test_damaged_parquet_and_old_workbooks(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[float, int]], cut_off: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(damaged(OLD if name == "a.xls" else PARQUET, changes, cut_off))
    reads_or_refuses(path)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.xlsx", "a.xls"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_any_bytes_under_any_name(tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    reads_or_refuses(path)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(CHANGES, st.booleans())
def test_damaged_databases(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]], cut_off: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (主诉 TEXT, 标签 TEXT)")
        database.executemany("INSERT INTO t VALUES (?, 'x')", [(f"咳{n}" * 40,) for n in range(60)])
        database.commit()
    path.write_bytes(damaged(path.read_bytes(), changes, cut_off))
    reads_or_refuses(Source(f"sqlite:///{path}", table="t"))


WORDS = st.sampled_from(["SELECT", "*", "FROM", "t", "主诉", "标签", "AS", "WHERE", "''", "%s", ":a", "?", ";", "--", "(", ")", "x'00'", "1e999"])  # fmt: skip
TEXTS = st.text(max_size=30) | st.lists(WORDS, max_size=9).map(" ".join)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXTS, st.booleans(), st.dictionaries(st.sampled_from(["chief_complaint", "labels", "patient_id", "id_card", "x"]) | TEXTS, TEXTS, max_size=3))  # fmt: skip
def test_any_query_table_and_column_map(
    tmp_path_factory: pytest.TempPathFactory, asked: str, as_query: bool, columns: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("asked") / "a.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (主诉 TEXT, 标签 TEXT)")
        database.execute("INSERT INTO t VALUES ('咳', 'x')")
        database.commit()
    before = path.read_bytes()
    asked_for = {"query" if as_query else "table": asked}
    with suppress(EmrFlError):
        read_records(Source(f"sqlite:///{path}", **asked_for), columns)
    with suppress(EmrFlError):
        read_records(Source(f"sqlite:///{path}", table="t"), columns)
    assert path.read_bytes() == before


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(["", "sqlite:///", "postgresql://", "x+y://"]), st.text(max_size=40))
def test_any_location(scheme: str, rest: str) -> None:
    if scheme.startswith("postgresql"):
        rest = "127.0.0.1:1/" + rest  # nobody listens there
    with pytest.raises(EmrFlError):
        read_records(Source(scheme + rest, table="t" if scheme else ""))


CODES = st.text(alphabet="AIJZ0159.xX*+†/-－ （）【】　\x00é", max_size=14) | st.text(max_size=14)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(CODES, max_size=5), st.lists(CODES, max_size=3))
def test_any_codes_and_labels(codes: list[str], labels: list[str]) -> None:
    taxonomy = load_taxonomy("outpatient-50")
    for code in codes:
        parse_code(code)
        result = taxonomy.of_code(code)
        assert result.index is not None or result.reason
    for record in (Record(diagnosis_codes=tuple(codes)), Record(labels=tuple(labels))):
        indices, _ = map_labels(record, taxonomy)
        assert all(0 <= index < len(taxonomy) for index in indices)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.sampled_from(["label.csv", "label.toml", "SITE.toml", "staff.txt", "staff.csv"]), st.sampled_from(["", "id,zh,icd10_ranges\n1,甲,I10\n", 'name = "a"\n', 'source = "a.csv"\n', "姓名\n"]), st.binary(max_size=80) | TEXTS.map(lambda text: text.encode("utf-8", "replace")))  # fmt: skip
def test_any_settings_label_set_and_roster(
    tmp_path_factory: pytest.TempPathFactory, name: str, begin: str, rest: bytes
) -> None:
    path = tmp_path_factory.mktemp("other") / name
    path.write_bytes(begin.encode() + rest)
    with suppress(EmrFlError):
        if name == "SITE.toml":
            load_site_settings(path)
        elif name.startswith("label"):
            load_taxonomy(path)
        else:
            read_roster(path)
