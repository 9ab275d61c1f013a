"""JSON Lines: lists stay lists, numbers stay as written, broken lines are left out under their number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.errors import DataError
from emr_fl_shared.sources import Rejected, iter_records, read_headers, read_records

SECRET = "绝密患者甲乙丙"


def write(path: Path, *lines: object, encoding: str = "utf-8") -> Path:
    text = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_bytes(("\n".join(text) + "\n").encode(encoding))
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_lists_numbers_and_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '{"患者ID": 110101199003077512, "主诉": "咳", "体温": 38.50, "标签": ["胃炎、胃溃疡", "x;y"], "诊断编码": null}',
        {"主诉": "痛", "既往史": True, "诊断编码": ["I10", "E11.9"], "标签": [], "年龄": None},
        {"主诉": "热", "标签": "a；b", "现病史": {"起病": "3天"}, "姓名": ["甲", "乙"]},
    )
    records, report = read_records(path)
    assert records[0].patient_id == "110101199003077512"
    assert records[0].labels == ("胃炎、胃溃疡", "x;y")
    assert (records[1].diagnosis_codes, records[1].labels, records[1].past_history) == (
        ("I10", "E11.9"),
        (),
        "true",
    )
    assert records[2].labels == ("a", "b")
    assert records[2].present_illness == '{"起病": "3天"}'
    assert records[2].identifiers == {"patient_name": "甲；乙"}
    assert read_headers(path)[:3] == ("患者ID", "主诉", "体温")
    assert (report.format, report.encoding) == ("jsonl", "utf-8")
    assert [record.record_id for record in records] == ["1", "2", "3"]


def test_a_key_that_comes_late_is_a_column(tmp_path: Path) -> None:
    lines = [{"主诉": "咳", "标签": "x"}] * 3000 + [{"主诉": "痛", "标签": "y", "既往史": "高血压"}]
    records, _ = read_records(write(tmp_path / "a.ndjson", *lines))
    assert records[-1].past_history == "高血压"


def test_broken_lines_are_left_out_under_their_number(tmp_path: Path) -> None:
    good = {"主诉": "咳", "标签": "x"}
    path = write(tmp_path / "a.jsonl", good, '{"主诉": "断', "", "[1, 2]", '"text"', "[" * 100_000, good, {})
    found: list[Rejected] = []
    records, report = read_records(path, rejected=found.append)
    assert len(records) == 2
    assert [(row.row, row.reason) for row in found] == [
        (2, "broken_line"), (3, "empty_row"), (4, "broken_line"), (5, "broken_line"), (6, "broken_line"), (8, "empty_row")
    ]  # fmt: skip
    assert found[0].cells == ('{"主诉": "断',) and "断" not in repr(found[0])
    assert report.rows == report.kept + sum(report.skipped.values()) == 8


def test_gb18030_and_a_mark(tmp_path: Path) -> None:
    line = {"主诉": "头痛三天", "标签": "x"}
    for encoding in ("gb18030", "utf-8-sig", "utf-16"):
        records, report = read_records(write(tmp_path / "a.jsonl", line, line, encoding=encoding))
        assert (records[1].chief_complaint, report.encoding) == ("头痛三天", encoding)


def test_null_characters_are_taken_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"主诉": "咳\\u0000嗽", "标签": "x"}')
    (record,), report = read_records(path)
    assert record.chief_complaint == "咳嗽"
    assert report.repaired == {"null_characters": 1}


def test_a_cell_of_ten_megabytes_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"主诉": "咳" * 3_500_000, "标签": "x"}, {"主诉": "痛", "标签": "y"})
    records, report = read_records(path)
    assert [record.chief_complaint for record in records] == ["痛"]
    assert report.skipped == {"cell_too_long": 1}


def test_the_first_record_is_there_before_the_last_line_is_parsed(tmp_path: Path) -> None:
    good = {"主诉": "咳", "标签": "x"}
    path = write(tmp_path / "a.jsonl", *[good] * 1000, "{")
    records, report = iter_records(path)
    next(records)
    assert report.kept == 1 and "broken_line" not in report.skipped
    assert len(list(records)) == 999
    assert report.skipped == {"broken_line": 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b'[{"a": 1},\n{"b": 2}]', "no line holds a JSON object"),
        (b'[\n  {\n"x"\n', "line 1"),
        (b"{}\n{}\n", "no line holds"),
        (b'{"a": "b\x00c"}\n', "null bytes"),
        (bytes(range(1, 32)) * 20, "control characters"),
        ('{"甲": "乙"}\n'.encode(), "no text column"),
        (f'{{"主诉": "{SECRET}"}}\n'.encode(), "no label column"),
        (f'{{"主诉": "{SECRET}", "标签": ""}}\n'.encode(), "none of 1 rows"),
        (b"\xff\xff\xff,\xff\n\xff\xff", "neither UTF-8 nor GB18030"),
        (b'{"text": "' + b"a" * (17 << 20), "no line end"),
        (json.dumps({f"k{i}": 1 for i in range(3000)}).encode(), "different keys"),
    ],
    ids=[
        "empty", "blank", "one-list", "pretty", "no-keys", "null", "binary", "no-text", "no-label", "no-row", "junk", "endless-line",
        "many-keys",
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    message = refused(path)
    assert says in message and "a.jsonl" in message


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_give_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, after_a_good_line: bool
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_bytes(('{"主诉": "咳", "标签": "x"}\n'.encode() if after_a_good_line else b"") + data)
    try:
        records, report = read_records(path)
    except DataError:
        return
    assert len(records) == report.kept
    assert report.rows == report.kept + sum(report.skipped.values())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["主诉", "标签", "患者ID", "x", "诊断编码"]), VALUES, max_size=5),
        max_size=5,
    )
)
def test_any_objects_give_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("objects") / "a.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in objects), encoding="utf-8")
    try:
        records, report = read_records(path)
    except DataError:
        return
    assert len(records) == report.kept
    for record in records:
        assert record.labels or record.diagnosis_codes
        assert all(isinstance(value, str) for value in (record.chief_complaint, record.patient_id))
