"""Reading exports as hospitals write them: encodings, delimiters, headers, broken rows, clear refusals."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import set_language
from emr_fl_shared.sources import Rejected, describe_reason, read_headers, read_records

SECRET = "绝密患者甲乙丙"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def refused(path: Path, columns: dict[str, str] | None = None, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        read_records(path, columns, **options)
    assert caught.value.exit_code == 1
    assert SECRET not in str(caught.value)
    return str(caught.value)


BASIC = "主诉,诊断编码\n头痛3天,I10.x00\n咳嗽,J06.900；J20.9\n"


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("gb18030", "gb18030"),
        ("gbk", "gb18030"),
        ("utf-16", "utf-16"),
        ("utf-32", "utf-32"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, named: str) -> None:
    records, report = read_records(write(tmp_path / "a.csv", BASIC, encoding))
    assert report.encoding == named
    assert [record.chief_complaint for record in records] == ["头痛3天", "咳嗽"]
    assert records[1].diagnosis_codes == ("J06.900", "J20.9")


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"], ids=["comma", "tab", "semicolon", "bar"])
def test_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    rows = [["主诉", "现病史", "诊断编码"], ["头痛", "无诱因, 头痛", "I10"], ["咳嗽", "受凉; 咳嗽", "J06"]]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    records, report = read_records(write(tmp_path / "a.csv", buffer.getvalue()))
    assert report.delimiter == delimiter
    assert [record.present_illness for record in records] == ["无诱因, 头痛", "受凉; 咳嗽"]


def test_text_and_labels_only(tmp_path: Path) -> None:
    records, report = read_records(write(tmp_path / "a.csv", "text,labels\n胃痛,a|b\n头晕,c、d;e；f\n"))
    assert [record.labels for record in records] == [("a", "b"), ("c", "d", "e", "f")]
    assert [record.record_id for record in records] == ["2", "3"]
    assert {record.patient_id for record in records} == {""}
    assert report.to_json()["columns"] == {"text": "text", "labels": "labels"}


def test_everything_stays_text(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "患者ID,年龄,身份证号,主诉,标签\n0001163476,045,110101199003077512,咳,x\n"
    )
    (record,), _ = read_records(path)
    assert (record.patient_id, record.age) == ("0001163476", "045")
    assert record.identifiers == {"id_card": "110101199003077512"}


def test_identifier_columns_get_canonical_names(tmp_path: Path) -> None:
    header = "姓名,联系电话,家庭住址,医保号,接诊医师,床号,门诊号,医院名称,主诉,标签"
    path = write(tmp_path / "a.csv", f"{header}\n甲,1,住,2,乙,3,4,院,咳嗽,x\n")
    (record,), report = read_records(path)
    assert set(record.identifiers) == {
        "patient_name", "phone", "address", "insurance_number", "doctor", "bed", "visit_number", "hospital"
    }  # fmt: skip
    assert report.identifier_columns["doctor"] == "接诊医师"
    assert "甲" not in repr(record)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("主 诉", "chief_complaint"),
        ("【主诉】", "chief_complaint"),
        ("Chief Complaint", "chief_complaint"),
        ("ＨＰＩ", "present_illness"),
        ("现病史(患者自述)", "present_illness"),
        ("既往病史", "past_history"),
        ("病历文本", "text"),
    ],
)
def test_header_aliases(tmp_path: Path, header: str, field: str) -> None:
    (record,), report = read_records(write(tmp_path / "a.csv", f"{header},label\n咳嗽,x\n"))
    assert getattr(record, field) == "咳嗽"
    assert report.columns[field] == header


def test_column_map_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "主诉,ZS,LB\n不用,用这个,x\n")
    (record,), report = read_records(path, {"chief_complaint": "ZS", "labels": "LB"})
    assert record.chief_complaint == "用这个"
    assert report.ignored_columns == ("主诉",)


def test_medical_record_number_is_the_patient_where_nothing_else_is(tmp_path: Path) -> None:
    (record,), _ = read_records(write(tmp_path / "a.csv", "病历号,主诉,标签\nB7,咳,x\n"))
    assert (record.patient_id, record.identifiers["record_number"]) == ("B7", "B7")
    (record,), _ = read_records(write(tmp_path / "b.csv", "病历号,患者ID,主诉,标签\nB7,P1,咳,x\n"))
    assert (record.patient_id, record.record_id) == ("P1", "B7")


def test_free_text_diagnosis_is_the_last_resort(tmp_path: Path) -> None:
    (record,), _ = read_records(write(tmp_path / "a.csv", "主诉,初步诊断\n咳,高血压；糖尿病\n"))
    assert record.labels == ("高血压", "糖尿病")
    (record,), _ = read_records(write(tmp_path / "b.csv", "主诉,初步诊断,诊断编码\n咳,高血压,I10\n"))
    assert (record.labels, record.diagnosis_codes) == ((), ("I10",))


def test_numbers_in_front_of_diagnoses_are_no_labels(tmp_path: Path) -> None:
    (record,), _ = read_records(write(tmp_path / "a.csv", "主诉,初步诊断\n咳,1、糖尿病 2、上感\n"))
    assert record.labels == ("糖尿病", "上感")


def test_a_row_without_a_code_is_kept_for_its_written_diagnosis(tmp_path: Path) -> None:
    text = "主诉,初步诊断,诊断编码\n咳,高血压,\n咳,,I10\n咳,,\n"
    (written, coded), report = read_records(write(tmp_path / "a.csv", text))
    assert (written.diagnosis_codes, written.diagnosis_text) == ((), "高血压")
    assert coded.diagnosis_codes == ("I10",) and report.skipped == {"no_label": 1}
    labelled = write(tmp_path / "b.csv", "主诉,初步诊断,标签\n咳,高血压,\n咳,高血压,x\n")
    (only,), report = read_records(labelled)  # an empty label is no invitation to guess one
    assert only.labels == ("x",) and report.skipped == {"no_label": 1}


def test_codes_are_split_at_blanks_and_commas(tmp_path: Path) -> None:
    (record,), _ = read_records(write(tmp_path / "a.csv", '主诉,ICD编码\n咳,"I10, E11.9　J06，K29|I10"\n'))
    assert record.diagnosis_codes == ("I10", "E11.9", "J06", "K29")


def test_broken_rows_are_counted_never_lost(tmp_path: Path) -> None:
    text = (
        '某院门诊导出,,\n主诉,现病史,标签\n头痛,"第一行\n第二行",x\n\n主诉,现病史,标签\n'
        "咳嗽,多,y,余\n,,z\n腹痛,无,\n胸闷,有,w,,\n乏力,少\n发热\n"
    )
    records, report = read_records(write(tmp_path / "a.csv", text))
    assert [record.labels for record in records] == [("x",), ("w",)]
    assert records[0].present_illness == "第一行\n第二行"
    assert report.skipped == {
        "above_header": 1, "empty_row": 1, "repeated_header": 1, "too_many_cells": 1, "no_text": 1, "no_label": 3
    }  # fmt: skip
    assert report.rows == report.kept + sum(report.skipped.values())
    assert all(describe_reason(reason) != reason for reason in report.skipped)


def test_rows_that_are_left_out_are_handed_over_with_row_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "主诉,诊断编码\n咳嗽,J06.9\n主诉,诊断编码\n,I10\n头痛,\n胸痛,I10,多,余\n", encoding="utf-8"
    )
    found: list[Rejected] = []
    records, report = read_records(path, rejected=found.append)
    assert [(row.row, row.reason, row.cells) for row in found] == [
        (3, "repeated_header", ("主诉", "诊断编码")),
        (4, "no_text", ("", "I10")),
        (5, "no_label", ("头痛", "")),
        (6, "too_many_cells", ("胸痛", "I10", "多", "余")),
    ]
    assert len(records) + len(found) == report.rows
    assert "胸痛" not in repr(found[-1])


def test_short_rows_are_kept_and_counted(tmp_path: Path) -> None:
    records, report = read_records(write(tmp_path / "a.csv", "标签,主诉,现病史,既往史\nx,头痛\n"))
    assert len(records) == 1
    assert report.repaired == {"too_few_cells": 1}


def test_labels_are_not_required_for_prediction(tmp_path: Path) -> None:
    records, _ = read_records(write(tmp_path / "a.csv", "文本\n头痛\n咳嗽\n"), require_labels=False)
    assert [record.text for record in records] == ["头痛", "咳嗽"]


def test_quotes_in_tab_separated_exports_are_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", '主诉\t标签\n"头痛3天\tx\n咳嗽\ty\n')
    records, _ = read_records(path)
    assert [record.chief_complaint for record in records] == ['"头痛3天', "咳嗽"]


def test_headers_only(tmp_path: Path) -> None:
    assert read_headers(write(tmp_path / "a.csv", "ZS,XBS,标签\n1,2,3\n")) == ("ZS", "XBS", "标签")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \r\n\n", "empty"),
        ("主诉,标签\n".encode(), "no row below"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"a,b\x00c\n1,2\n", "null bytes"),
        (bytes(range(1, 32)) * 20, "control characters"),
        ("甲,乙\n丙,丁\n".encode(), "no text column"),
        (f"主诉,备注列\n{SECRET},{SECRET}\n".encode(), "no label column"),
        (f"主诉,标签\n{SECRET},\n".encode(), "none of 1 rows"),
        (f'主诉,标签\n咳嗽,x\n"{SECRET},y\n发热,z\n'.encode(), "row 3"),
        (b"\xff\xff\xff,\xff\n\xff\xff", "neither UTF-8 nor GB18030"),
        (b"\xef\xbb\xbf\xd6\xf7\xcb\xdf,\xb1\xea\n", "does not fit"),
    ],
    ids=[
        "empty",
        "blank",
        "header-only",
        "xlsx",
        "null",
        "binary",
        "no-text",
        "no-label",
        "no-row",
        "open-quote",
        "junk",
        "bom",
    ],
)
def test_refusals(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    message = refused(path)
    assert says in message
    assert "a.csv" in message


def test_no_such_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "folder" in refused(tmp_path)


def test_mixed_encodings_name_the_row_and_nothing_else(tmp_path: Path) -> None:
    rows = ["主诉,标签", '"咳嗽\n三天",x', *["头痛伴恶心呕吐,x"] * 8]
    data = "\n".join(rows).encode() + b"\n" + f"{SECRET},y\n".encode("gb18030") + "腹痛,x\n".encode()
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    message = refused(path)
    assert "mixed encodings" in message
    assert "row 11" in message  # the header is row 1 and the cell with a line break one row
    data = "\n".join(rows).encode("gb18030") + b"\n" + f"{SECRET},y\n".encode()
    path.write_bytes(data)
    assert "row 11" in refused(path)


def test_columns_of_different_encodings_are_refused(tmp_path: Path) -> None:
    rows = [b"text,labels"]
    rows += ["咳嗽三天，伴发热".encode("gb18030") + b"," + "呼吸".encode() for _ in range(9)]
    file = tmp_path / "pasted.csv"
    file.write_bytes(b"\n".join(rows))
    message = refused(file)
    assert "column 2 is UTF-8" in message
    assert "呼吸" not in message
    file.write_bytes(b"\n".join(row if row.isascii() else "咳嗽三天,呼吸".encode("gb18030") for row in rows))
    assert len(read_records(file)[0]) == 9


def test_short_gb18030_rows_that_are_valid_utf8_by_chance(tmp_path: Path) -> None:
    # 联通 in GB18030 is C1 AA CD A8; 谩 is C3 A1, which is also an accented letter in UTF-8.
    path = write(tmp_path / "a.csv", "主诉,标签\n联通,x\n谩,y\n头痛,z\n", "gb18030")
    records, report = read_records(path)
    assert report.encoding == "gb18030"
    assert [record.chief_complaint for record in records] == ["联通", "谩", "头痛"]


def test_missing_column_lists_the_headers_and_the_map(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"ZS,LB\n{SECRET},x\n")
    message = refused(path)
    assert "ZS, LB" in message and "[sites.NAME.columns]" in message and "主诉" in message
    message = refused(path, {"chief_complaint": "ZHUSU"})
    assert "ZHUSU" in message and "ZS, LB" in message
    assert "unknown field" in refused(path, {"complaint": "ZS"})


@pytest.mark.parametrize(
    "first_row",
    ["张三丰,头痛三天伴恶心，呕吐一次,感冒", "张三丰,男,感冒", "13800138000,甲,乙"],
    ids=["sentence", "repeated-value", "digits"],
)
def test_a_file_without_header_shows_no_data(tmp_path: Path, first_row: str) -> None:
    message = refused(write(tmp_path / "a.csv", f"{first_row}\n李四,男,发热\n王五,男,咳嗽\n"))
    assert "no text column" in message
    for part in ("张三丰", "13800138000", "头痛", "感冒"):
        assert part not in message


def test_messages_follow_the_language(tmp_path: Path) -> None:
    set_language("zh")
    assert "文件是空的" in refused(write(tmp_path / "a.csv", ""))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.csv"
    path.write_bytes("主诉,标签\n".encode() + data)
    try:
        records, report = read_records(path)
    except DataError:
        return
    assert report.rows == report.kept + sum(report.skipped.values())
    assert len(records) == report.kept


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("甲乙丙，。,;\"'\n\t 12a", min_size=1, max_size=20).filter(
                lambda text: text.strip() != ""
            ),
            st.sampled_from(["x", "y|z"]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["utf-8", "gb18030", "utf-8-sig"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], encoding: str
) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("现病史", "标签"), *rows])
    path = write(tmp_path_factory.mktemp("rt") / "a.csv", buffer.getvalue(), encoding)
    records, _ = read_records(path)
    assert [record.present_illness for record in records] == [text.strip() for text, _ in rows]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("患者&#24352;&#24314;&#22269;，咳嗽", "患者张建国，咳嗽"),
        ("患者&#x5F20;&#x5efa;&#x56fd;", "患者张建国"),
        ("&amp;#24352;建国", "张建国"),
        ("&#24352；建国，＆＃２４３５２；三", "张建国，张三"),
        ("体温&gt;38&deg;C&nbsp;&amp;lt;", "体温>38°C\xa0<"),
        ("A&B; R&D，&unknown;", "A&B; R&D，&unknown;"),
        ("&#31;&#0;", "\ufffd"),
    ],
)
def test_characters_written_as_entities_are_read(tmp_path: Path, written: str, read: str) -> None:
    """Else a name in them would pass everything that looks for names, and be a name again when markup is taken out."""
    path = tmp_path / "export.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["主诉", "现病史", "诊断编码"], ["咳嗽", written, "J20.9"]])
    records, report = read_records(path)
    assert records[0].present_illness == read
    assert report.repaired == ({"entities": 1} if read != written else {})
