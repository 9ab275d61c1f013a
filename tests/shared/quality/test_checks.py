"""Each defect alone, put into a clean export: found, counted exactly, and nothing else is said."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinic_export import HEADER, Row, clean_rows, text_of, write_export
from emr_fl_shared.messages import set_language
from emr_fl_shared.quality import Finding, QualityReport, Source, check_files, defect, identifiers
from emr_fl_shared.quality.finding import RECORDS, Wording, share, worst
from emr_fl_shared.sources import Rejected

TODAY = date(2026, 1, 1)


def check(path: Path, taxonomy: str | None = None, **columns: str) -> QualityReport:
    return check_files([Source(path, columns)], taxonomy=taxonomy, today=TODAY)


def problems(report: QualityReport) -> dict[str, int]:
    """Key -> count of all that is not ok."""
    return {finding.key: finding.count for finding in report.findings if finding.level != "ok"}


def finding(report: QualityReport, key: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.key == key]
    return found


def test_a_clean_export_has_no_problem(tmp_path: Path) -> None:
    report = check(write_export(tmp_path / "a.csv", clean_rows()))
    assert problems(report) == {}
    assert report.level == "ok"
    assert finding(report, "records.near_copies_within").count == 0
    assert finding(report, "file.empty_fields").count == 0


def change(column: str, *values: str) -> Callable[[list[Row]], None]:
    """Write the values into the column of patients far apart, one row each."""

    def apply(rows: list[Row]) -> None:
        for number, value in enumerate(values):
            rows[6 * number + 1][column] = value

    return apply


def both_visits(column: str, *values: str) -> Callable[[list[Row]], None]:
    """The same for both visits of a patient, so that the patient stays consistent."""

    def apply(rows: list[Row]) -> None:
        for number, value in enumerate(values):
            rows[6 * number][column] = rows[6 * number + 1][column] = value

    return apply


def together(*changes: Callable[[list[Row]], None]) -> Callable[[list[Row]], None]:
    def apply(rows: list[Row]) -> None:
        for one in changes:
            one(rows)

    return apply


def duplicates(rows: list[Row]) -> None:
    rows += [{**rows[at], "就诊流水号": f"9{at:06d}"} for at in (3, 9, 14)]


def near_copies_of_others(rows: list[Row]) -> None:
    """Three notes under new patients, each with one word changed."""
    for at in (3, 9, 14):
        note = rows[at]["现病史"]
        fresh = {
            "患者ID": f"Q{at}",
            "就诊流水号": f"9{at:06d}",
            "身份证号": "",
            "现病史": note[:-3] + "另诉。",
        }
        rows.append({**rows[at], **fresh})


def duplicate_visits(rows: list[Row]) -> None:
    others = clean_rows(40, seed=7)
    rows += [
        {**rows[at], "就诊流水号": f"9{at:06d}", "现病史": others[at]["现病史"], "主诉": others[at]["主诉"]}
        for at in (3, 9)
    ]


def shared_cards(rows: list[Row]) -> None:
    for at in (0, 10):  # the next patient gets the card and what hangs on it
        for row in rows[at + 2 : at + 4]:
            row["身份证号"] = rows[at]["身份证号"]
            row["年龄"] = ""


def merged(rows: list[Row]) -> None:
    for at in range(1, len(rows), 2):
        rows[at].update({"患者ID": "", "性别": "", "年龄": "", "身份证号": ""})


def line_breaks(rows: list[Row]) -> None:
    for at in (2, 5, 8, 11):
        rows[at]["就诊科室"] = "内科\r\n二楼"


DEFECTS: list[tuple[str, Callable[[list[Row]], None], dict[str, int]]] = [
    ("duplicates", duplicates, {"records.duplicates": 3}),
    ("near-copies", near_copies_of_others, {"records.near_copies_across": 3}),
    ("duplicate visits", duplicate_visits, {"records.duplicate_visits": 2}),
    ("record numbers", change("就诊流水号", "1000000", "1000000"), {"records.same_number": 2}),
    ("shared id cards", shared_cards, {"patients.shared_id_card": 2}),
    (
        "two sexes",
        lambda rows: rows[3].update({"性别": "女" if rows[2]["性别"] == "男" else "男"}),
        {"patients.several_sexes": 1},
    ),
    ("two years of birth", change("年龄", "12岁", "101"), {"patients.several_birth_years": 2}),
    (
        "impossible dates",
        change("就诊日期", "2023-02-30", "2023/13/01", "昨天", "1900-01-01"),
        {"values.date_impossible": 4},
    ),
    (
        "future dates",
        together(change("就诊日期", "2026-01-02", "2099年1月1日"), change("年龄", "", "")),
        {"values.date_future": 2},
    ),
    ("spreadsheet days", change("就诊日期", "45356", "45357.5"), {"values.date_serial": 2}),
    ("ages that are no number", change("年龄", "不详", "五十", "x"), {"values.age_unreadable": 3}),
    ("impossible ages", change("年龄", "121", "-1", "1965", "999岁"), {"values.age_impossible": 4}),
    ("sexes", change("性别", "3", "先生"), {"values.sex_unreadable": 2}),
    (
        "sex and diagnosis",
        together(
            both_visits("性别", "男", "女", "男"),
            change("诊断编码", "O20.0", "N40.x00;I10.x00", "N83.2"),
            change("初步诊断", "", "", ""),
        ),
        {"contradictions.sex": 3},
    ),
    (
        "age and diagnosis",
        together(change("诊断编码", "P22.000", "R95.x00"), change("初步诊断", "", "")),
        {"contradictions.age": 2},
    ),
    (
        "code and text",
        together(change("诊断编码", "J06.900", "M54.500"), change("初步诊断", "高血压", "腰痛；糖尿病")),
        {"contradictions.code_text": 2},
    ),
    (
        "unmapped codes",
        together(
            change("诊断编码", "V01.100", "110.x00", "A01.03.01", "M80000/3"),
            change("初步诊断", "", "", "", ""),
        ),
        {"labels.unmapped": 4},
    ),
    (
        "leakage",
        lambda rows: (
            [row.update({"现病史": row["现病史"] + "门诊以“高血压”收入院。"}) for row in (rows[1], rows[7])]
            and None
        ),
        {"labels.leakage": 2},
    ),
    ("line breaks", line_breaks, {"file.line_breaks": 4}),
    ("merged cells", merged, {"file.merged_cells": 160}),
    (
        "no text",
        together(change("主诉", "", ""), change("现病史", "", "")),
        {"file.rows": 2, "file.no_text": 2},
    ),
    (
        "no label",
        together(change("诊断编码", "", "", ""), change("初步诊断", "", "", "")),
        {"file.rows": 3, "file.no_label": 3},
    ),
    (
        "a mostly empty column",
        lambda rows: [row.update({"就诊科室": ""}) for row in rows[:41]] and None,
        {"file.empty_fields": 41},
    ),
]


@pytest.mark.parametrize(
    ("apply", "expected"), [item[1:] for item in DEFECTS], ids=[item[0] for item in DEFECTS]
)
def test_each_defect_alone(
    tmp_path: Path, apply: Callable[[list[Row]], None], expected: dict[str, int]
) -> None:
    rows = clean_rows()
    apply(rows)
    report = check(write_export(tmp_path / "a.csv", rows))
    assert problems(report) == expected
    for found in report.findings:
        assert found.level == "ok" or (found.do.en and found.do.zh)
        assert found.level != "ok" or not found.do


LINES: list[tuple[str, Callable[[list[str]], None], dict[str, int]]] = [
    (
        "repeated header",
        lambda lines: [lines.insert(at, lines[0]) for at in (20, 40)] and None,
        {"file.rows": 2, "file.repeated_header": 2},
    ),
    (
        "empty rows",
        lambda lines: [lines.insert(at, ",,,") for at in (20, 40, 60)] and None,
        {"file.rows": 3, "file.empty_row": 3},
    ),
    (
        "too many cells",
        lambda lines: lines.__setitem__(5, lines[5] + ",more"),
        {"file.rows": 1, "file.too_many_cells": 1},
    ),
    (
        "too few cells",
        lambda lines: lines.__setitem__(5, lines[5].rpartition(",")[0]),
        {"file.too_few_cells": 1},
    ),
    ("title above", lambda lines: lines.insert(0, "某院门诊导出"), {"file.rows": 1, "file.above_header": 1}),
]


@pytest.mark.parametrize(("apply", "expected"), [item[1:] for item in LINES], ids=[item[0] for item in LINES])
def test_each_broken_line_alone(
    tmp_path: Path, apply: Callable[[list[str]], None], expected: dict[str, int]
) -> None:
    lines = text_of(clean_rows()).splitlines()
    apply(lines)
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    report = check(tmp_path / "a.csv")
    assert problems(report) == expected
    source = report.files[0].source
    assert source is not None and source.rows == source.kept + source.skipped.total()


def test_without_a_patient_column(tmp_path: Path) -> None:
    header = tuple(name for name in HEADER if name not in ("患者ID", "身份证号"))
    report = check(write_export(tmp_path / "a.csv", clean_rows(), header))
    assert problems(report) == {"file.patient_column": 1}
    assert not [found.key for found in report.findings if found.key.startswith("patients.")]


def test_only_what_was_looked_for_is_said(tmp_path: Path) -> None:
    """An export of a text and a label: nothing is claimed about dates, ages, sexes, visits or patients."""
    report = check(write_export(tmp_path / "a.csv", clean_rows(), ("主诉", "初步诊断")))
    keys = {
        found.key
        for found in report.findings
        if not found.key.startswith(("file.", "labels.", "identifiers."))
    }
    assert keys == {"records.duplicates", "records.near_copies_across"}


def test_without_a_label_column_the_rest_is_checked(tmp_path: Path) -> None:
    header = tuple(name for name in HEADER if name not in ("诊断编码", "初步诊断"))
    rows = clean_rows()
    change("性别", "先生")(rows)
    report = check(write_export(tmp_path / "a.csv", rows, header))
    assert problems(report) == {"file.unreadable": 1, "labels.mapped": 0, "values.sex_unreadable": 1}
    assert report.level == "stop"
    assert "no label column" in finding(report, "file.unreadable").seen.en


def test_none_of_the_codes_is_known(tmp_path: Path) -> None:
    rows = clean_rows()
    for row in rows:
        row["诊断编码"], row["初步诊断"] = "V01.100", ""
    report = check(write_export(tmp_path / "a.csv", rows))
    assert finding(report, "labels.mapped").level == report.level == "stop"
    assert finding(report, "labels.unmapped_categories").details == {"V01": 80}


def test_more_left_out_than_kept_stops(tmp_path: Path) -> None:
    rows = clean_rows()
    for row in rows[:50]:
        row["主诉"] = row["现病史"] = ""
    assert finding(check(write_export(tmp_path / "a.csv", rows)), "file.rows").level == "stop"


@pytest.mark.parametrize(
    ("code", "fine", "against"),
    [
        ("P22.0", "17岁", "18岁"),
        ("N40", "18", "17"),
        ("O20", "60岁", "61岁"),
        ("N95", "25", "24"),
        ("Z38", "5天", "2岁"),
    ],
    ids=["newborn", "prostate", "pregnancy", "menopause", "liveborn"],
)
def test_the_ages_of_diagnoses_include_both_ends(tmp_path: Path, code: str, fine: str, against: str) -> None:
    rows = clean_rows(2)
    for row, age in zip(rows, (fine, against, fine, ""), strict=True):
        row["诊断编码"], row["年龄"] = code, age
    report = check(write_export(tmp_path / "a.csv", rows, ("年龄", "主诉", "现病史", "诊断编码")))
    assert finding(report, "contradictions.age").count == 1
    assert finding(report, "contradictions.age").details == {code[:3]: 1}


def test_copies_within_a_patient_are_not_a_problem(tmp_path: Path) -> None:
    rows = clean_rows()
    for at in (0, 4, 8):
        rows[at + 1]["现病史"] = rows[at]["现病史"][:-3] + "同前。"
        rows[at + 1]["主诉"] = rows[at]["主诉"]
    report = check(write_export(tmp_path / "a.csv", rows))
    assert problems(report) == {}
    assert finding(report, "records.near_copies_within").count == 3


def test_paragraphs_of_a_text_are_counted_and_fine(tmp_path: Path) -> None:
    rows = clean_rows()
    for at in (2, 5):
        rows[at]["现病史"] = rows[at]["现病史"].replace("，", "\r\n", 1)
    report = check(write_export(tmp_path / "a.csv", rows))
    assert problems(report) == {}
    assert finding(report, "file.line_breaks").details == {"present_illness": 2}


def test_large_exports_are_searched_for_identifiers_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = clean_rows()
    for row in rows:
        row["现病史"] += "电话13912345678。"
    monkeypatch.setattr(identifiers, "SAMPLE", 10)
    report = check(write_export(tmp_path / "a.csv", rows))
    assert finding(report, "identifiers.types").details == {"PHONE": 10}
    assert finding(report, "identifiers.types").seen.en.startswith("in 10 records: ")


@given(
    st.lists(
        st.lists(
            st.text(
                alphabet="男女12-年月日岁I.x0；;=\n\r\"',头痛天门诊以“”收入院诊断：A\ud800İ€ ", max_size=30
            ),
            min_size=11,
            max_size=12,
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_cells_raise(cells: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows([HEADER, *cells])
        path = Path(folder) / "a.csv"
        path.write_bytes(buffer.getvalue().encode("utf-8", "replace"))
        report = check(path)
        (file,) = report.files
        assert file.source is None or file.source.rows == file.source.kept + file.source.skipped.total()
        assert file.source is not None or file.level == "stop"
        json.dumps(report.to_json())


def test_labels_are_counted(tmp_path: Path) -> None:
    rows = clean_rows(4)
    for row, codes in zip(
        rows, ("I10", "I10;E11.9", "I10;I11", "J06.9", "V99", "I10", "I10", "I10"), strict=True
    ):
        row["诊断编码"], row["初步诊断"] = codes, ""
    report = check(write_export(tmp_path / "a.csv", rows))
    assert finding(report, "labels.per_record").details == {"0": 1, "1": 6, "2": 1}
    frequency = finding(report, "labels.frequency")
    assert {name: count for name, count in frequency.details.items() if count} == {
        "高血压": 6,
        "糖尿病": 1,
        "急性上呼吸道感染": 1,
    }
    assert finding(report, "labels.never_seen").count == 47
    assert finding(report, "labels.mapped").count == 7


def test_label_names_of_a_column_are_not_shown(tmp_path: Path) -> None:
    rows = "".join(f"咳嗽{n}天，伴流涕,{'张三的病' if n % 2 else '呼吸'}\n" for n in range(2, 9))
    (tmp_path / "a.csv").write_text("text,labels\n" + rows, encoding="utf-8")
    report = check(tmp_path / "a.csv")
    assert report.files[0].taxonomy is not None and report.files[0].taxonomy.name == "column"
    assert finding(report, "labels.frequency").details == {"#1": 4, "#2": 3}
    assert "张三" not in str(report.to_json())
    assert finding(report, "labels.mapped").count == 7


def test_a_given_label_set_is_used(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("id,zh,icd10_ranges\n1,甲类,I10\n2,乙类,J00-J99\n", encoding="utf-8")
    rows = clean_rows()
    wanted = sum(row["诊断编码"] in ("I10.x00", "J06.900") for row in rows)
    report = check(write_export(tmp_path / "a.csv", rows), str(tmp_path / "two.csv"))
    assert finding(report, "labels.mapped").count == wanted
    assert set(finding(report, "labels.unmapped_categories").details) == {"E11", "M54"}


def test_identifiers_by_type_and_column(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[3]["现病史"] += "电话13912345678。"
    rows[7]["现病史"] += "电话13912345679，邮箱someone@example.com。"
    rows[9]["主诉"] += "，电话13912345670"
    report = check(write_export(tmp_path / "a.csv", rows))
    assert finding(report, "identifiers.types").details == {"PHONE": 3, "EMAIL": 1}
    assert finding(report, "identifiers.columns").details == {"present_illness": 3, "chief_complaint": 1}
    assert "1391234567" not in str(report.to_json())


def test_across_files(tmp_path: Path) -> None:
    first, second = clean_rows(), clean_rows(10, seed=2)
    second += [{**first[at], "就诊流水号": f"8{at}"} for at in (1, 5)]
    second.append(
        {**first[11], "患者ID": "Z1", "就诊流水号": "77", "现病史": first[11]["现病史"][:-3] + "另诉。"}
    )
    report = check_files(
        [
            Source(write_export(tmp_path / "a.csv", first)),
            Source(write_export(tmp_path / "b.csv", second)),
            Source(tmp_path / "missing.csv"),
        ],
        today=TODAY,
    )
    across = {finding.key: finding.count for finding in report.across}
    assert across == {"across.duplicates": 2, "across.near_copies": 3}
    assert [file.level for file in report.files] == ["ok", "ok", "stop"]
    assert report.level == "stop"


def test_rejected_rows_are_handed_over_once(tmp_path: Path) -> None:
    rows = clean_rows()
    together(change("主诉", "", ""), change("现病史", "", ""))(rows)
    path = write_export(tmp_path / "a.csv", rows)
    got: list[tuple[Path, Rejected]] = []
    report = check_files([Source(path)], today=TODAY, rejected=lambda file, row: got.append((file, row)))
    assert [(file, row.row, row.reason) for file, row in got] == [(path, 3, "no_text"), (path, 9, "no_text")]
    assert report.files[0].source is not None and report.files[0].source.kept == 78


def test_today_is_not_the_future(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[0]["就诊日期"], rows[0]["年龄"] = TODAY.isoformat(), ""
    rows[2]["就诊日期"], rows[2]["年龄"] = (TODAY + timedelta(days=1)).isoformat(), ""
    assert problems(check(write_export(tmp_path / "a.csv", rows))) == {"values.date_future": 1}


def test_both_languages(tmp_path: Path) -> None:
    rows = clean_rows()
    duplicates(rows)
    report = check(write_export(tmp_path / "a.csv", rows))
    try:
        set_language("zh")
        told = str(report.to_json())
    finally:
        set_language(None)
    assert "83 条记录中 3 条（3.6%）" in told and "完全重复的记录" in told


def test_shares_and_levels() -> None:
    assert share(0, 10) == "0.0%" and share(1, 3) == "33.3%" and share(1, 100_000) == "< 0.1%"
    good = defect("a.b", Wording("a", "甲"), 0, 5, RECORDS, Wording("do", "做"))
    bad = defect("a.b", Wording("a", "甲"), 1, 5, RECORDS, Wording("do", "做"), level="stop")
    assert good.silent and not bad.silent
    assert worst([]) == "ok" and worst([good, bad, good]) == "stop"
