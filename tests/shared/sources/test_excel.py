"""Workbooks: every cell as a person sees it, and files that are not what they seem."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.errors import DataError
from emr_fl_shared.sources import Rejected, Source, read_headers, read_records
from emr_fl_shared.sources.sheet_xml import WIDEST
from emr_fl_shared.sources.spreadsheet import Numbers, number_format

SECRET = "绝密患者甲乙丙"
OLD = Path(__file__).parent / "files" / "outpatients.xls"
"""Made with xlwt: a sheet of notes, then one of visits with merged, dated, zero-padded and 18-digit cells."""
HEADER = ["患者ID", "就诊日期", "主诉", "标签"]


def workbook(path: Path, *sheets: list[list[object]], names: tuple[str, ...] = ()) -> Path:
    with xlsxwriter.Workbook(path, {"strings_to_numbers": False}) as book:
        for index, rows in enumerate(sheets):
            sheet = book.add_worksheet(names[index] if names else None)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


def refused(path: Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        read_records(Source(str(path), **options))
    assert caught.value.exit_code == 1
    assert SECRET not in str(caught.value)
    return str(caught.value)


def sheet_xml(
    path: Path, body: str, *, strings: str | None = None, extra: dict[str, bytes] | None = None
) -> Path:
    """A workbook of one sheet whose XML is written by hand."""
    parts = {
        "xl/workbook.xml": '<workbook xmlns:r="r"><sheets><sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet>{body}</worksheet>",
    }
    if strings is not None:
        parts["xl/sharedStrings.xml"] = f"<sst>{strings}</sst>"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


def inline(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


TOP = f'<row r="1">{inline("A1", "主诉")}{inline("B1", "标签")}</row>'


def test_text_stays_text_and_dates_are_iso_dates(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "yyyy/m/d"})
        moment = book.add_format({"num_format": 'yyyy"年"m"月"d"日" h:mm'})
        zeros = book.add_format({"num_format": "0000000000"})
        sheet.write_row(0, 0, ["患者ID", "就诊日期", "年龄", "主诉", "现病史", "标签"])
        sheet.write_string(1, 0, "0001163476")
        sheet.write_datetime(1, 1, datetime(2026, 3, 1), day)
        sheet.write_number(1, 2, 45)
        sheet.write_row(1, 3, ["头痛", "第一行\n第二行 & <b>", "a；b"])
        sheet.write_number(2, 0, 1163476, zeros)
        sheet.write_datetime(2, 1, datetime(2026, 3, 2, 8, 30), moment)
        sheet.write_number(2, 2, 45.5)
        sheet.write_row(2, 3, ["_x4E00_", "", "c"])
    records, report = read_records(path)
    assert [record.patient_id for record in records] == ["0001163476", "0001163476"]
    assert [record.visit_date for record in records] == ["2026-03-01", "2026-03-02 08:30:00"]
    assert [record.age for record in records] == ["45", "45.5"]
    assert records[0].present_illness == "第一行\n第二行 & <b>"
    assert records[0].labels == ("a", "b")
    assert (report.format, report.encoding, report.repaired) == ("xlsx", "", {})


def test_a_workbook_under_another_name_is_read_all_the_same(tmp_path: Path) -> None:
    records, report = read_records(workbook(tmp_path / "export.csv", [HEADER, ["1", "", "咳", "x"]]))
    assert (len(records), report.format) == (1, "xlsx")


@pytest.mark.parametrize("column", ["患者ID", "病历号"])
def test_numbers_that_lost_digits_never_name_a_patient(tmp_path: Path, column: str) -> None:
    path = workbook(
        tmp_path / "a.xlsx",
        [[column, "主诉", "标签"], [110101199003077512, "咳", "x"], [110101199003077534, "痛", "y"]],
    )
    message = refused(path)
    assert "more than 15 digits" in message and "loses: 2 (" in message and column in message
    assert "11010119900307" not in message


def test_lost_digits_elsewhere_are_counted(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["身份证号", "主诉", "标签"], [110101199003077512, "咳", "x"]])
    _, report = read_records(path)
    assert report.repaired == {"digits_lost": 1}


def test_formulas_give_their_saved_value_or_are_counted(tmp_path: Path) -> None:
    body = (
        TOP
        + f'<row r="2"><c r="A2" t="str"><f>B9</f><v>咳嗽</v></c>{inline("B2", "x")}</row>'
        + f'<row r="3"><c r="A3"><f>B9</f></c>{inline("B3", "x")}</row>'
        + f'<row r="4">{inline("A4", "痛")}{inline("B4", "y")}<c r="C4" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>'
    )
    records, report = read_records(sheet_xml(tmp_path / "a.xlsx", f"<sheetData>{body}</sheetData>"))
    assert [record.chief_complaint for record in records] == ["咳嗽", "痛"]
    assert report.repaired == {"formula_without_value": 1, "error_value": 1}
    assert report.skipped == {"no_text": 1}


def test_cells_merged_downwards_are_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.merge_range(0, 0, 0, 3, "某院门诊导出")
        sheet.write_row(1, 0, HEADER)
        sheet.merge_range(2, 0, 4, 0, "P1")
        for row in range(2, 6):
            sheet.write_row(row, 1, ["", f"咳{row}", "x"])
        sheet.write(5, 0, "P2")
        sheet.merge_range(6, 0, 20_000, 0, "P3")
    records, report = read_records(path)
    assert [record.patient_id for record in records] == ["P1", "P1", "P1", "P2"]
    assert report.repaired == {"merged_cells": 2}
    assert report.skipped == {"above_header": 1, "no_text": 1}


def test_the_first_sheet_with_an_understood_header_or_the_named_one(tmp_path: Path) -> None:
    notes: list[list[object]] = [["导出说明"], ["请勿外传"]]
    path = workbook(
        tmp_path / "a.xlsx",
        notes,
        [HEADER, ["1", "", "咳", "x"]],
        [HEADER, ["1", "", "痛", "y"], ["2", "", "痛", "y"]],
        names=("说明", "一月", "二月"),
    )
    assert [record.chief_complaint for record in read_records(path)[0]] == ["咳"]
    assert len(read_records(Source(str(path), sheet="二月"))[0]) == 2
    assert read_headers(path) == tuple(HEADER)
    assert "no such sheet" in refused(path, sheet="三月")


def test_rows_that_are_left_out_keep_the_number_of_the_sheet(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [HEADER, [], ["1", "", "咳", "x"], [], ["2", "", "", "y"], HEADER])
    found: list[Rejected] = []
    _, report = read_records(path, rejected=found.append)
    assert [(row.row, row.reason) for row in found] == [(5, "no_text"), (6, "repeated_header")]
    assert report.rows == report.kept + sum(report.skipped.values()) == 3


def test_old_workbooks() -> None:
    records, report = read_records(OLD)
    assert [record.patient_id for record in records] == ["0001163476", "0001163476"]
    assert [record.visit_date for record in records] == ["2026-03-01", "2026-03-02"]
    assert records[0].identifiers["visit_number"] == "0001163476"
    assert (report.format, report.repaired) == ("xls", {"merged_cells": 1, "digits_lost": 1})


def bomb(path: Path) -> Path:
    blank = b"<c/>" * (16 << 20)
    return sheet_xml(path, "", extra={"xl/worksheets/sheet2.xml": blank + blank})


def liar(path: Path) -> Path:
    """The directory says 10 bytes; the data unpacks to more."""
    sheet_xml(path, f"<sheetData>{TOP}{'<row/>' * 1000}</sheetData>")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"xl/worksheets/sheet1.xml") - 46
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    return path


def encrypted_zip(path: Path) -> Path:
    sheet_xml(path, f"<sheetData>{TOP}</sheetData>")
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark)
        data[at + offset] |= 1
    path.write_bytes(data)
    return path


def protected(path: Path) -> Path:
    """As Office writes a workbook with a password: an OLE file that holds an encrypted package."""
    path.write_bytes(OLD.read_bytes()[:2048] + "EncryptedPackage".encode("utf-16-le") + bytes(4096))
    return path


def entities(path: Path) -> Path:
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    sheet_xml(path, "")
    parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    parts["xl/worksheets/sheet1.xml"] = (
        f'<!DOCTYPE w [<!ENTITY e0 "x">{levels}]><worksheet><sheetData><row><c t="str"><v>&e11;</v></c></row></sheetData></worksheet>'
    ).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def other_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<document/>")
    return path


def cut(path: Path) -> Path:
    data = workbook(path, [HEADER, ["1", "", SECRET, "x"]]).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def flipped(path: Path) -> Path:
    data = bytearray(workbook(path, [HEADER, *[[str(i), "", SECRET, "x"] for i in range(500)]]).read_bytes())
    at = data.index(b"xl/sharedStrings.xml") + 60
    data[at] ^= 0xFF
    path.write_bytes(data)
    return path


def written(data: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return write


def sheet_of(body: str) -> Callable[[Path], Path]:
    return lambda path: sheet_xml(path, f"<sheetData>{body}</sheetData>")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (bomb, "too large unpacked"),
        (liar, "damaged"),
        (encrypted_zip, "password"),
        (protected, "password"),
        (entities, "damaged"),
        (other_zip, "no Excel workbook"),
        (cut, "damaged"),
        (flipped, "damaged"),
        (written(b"PK\x03\x04" + bytes(500)), "damaged"),
        (written(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)), "damaged"),
        (written(OLD.read_bytes()[:3000]), "damaged"),
        (written(b"<html><table><tr><td>x</td></tr></table></html>"), "web page"),
        (written(bytes(range(256)) * 8), "binary"),
        (sheet_of(""), "empty"),
        (sheet_of('<row r="1"><c r="A1"/></row>'), "empty"),
        (sheet_of(TOP), "no row below"),
        (sheet_of('<row r="1"><c r="A1" t="s"><v>7</v></c></row>'), "damaged"),
        (sheet_of('<row r="1"><c r="A1" t="s"><v>-1</v></c></row>'), "damaged"),
        (sheet_of('<row r="2"></row><row r="1"></row>'), "damaged"),
        (sheet_of('<row r="1"><c r="!"><v>1</v></c></row>'), "damaged"),
        (sheet_of('<row r="1"><c r="A1"><v>x</v></c></row>'), "damaged"),
    ],
    ids=[
        "bomb", "lying-directory", "encrypted-zip", "encrypted-office", "entities", "other-zip", "cut", "flipped-byte", "zip-magic-only",
        "ole-magic-only", "cut-xls", "html-as-xls", "binary", "empty-sheet", "no-value", "header-only", "no-such-text", "negative-text",
        "rows-out-of-order", "no-place", "no-number",
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    path = tmp_path / "a.xls"
    make(path)
    before = time.monotonic()
    message = refused(path)
    assert says in message and "a.xls" in message
    assert time.monotonic() - before < 5


def test_a_file_that_claims_the_largest_sheet_takes_no_memory_for_it(tmp_path: Path) -> None:
    body = f'{TOP}<row r="2">{inline("A2", "咳")}{inline("B2", "x")}</row><row r="1048576">{inline("XFD1048576", "z")}</row>'
    found: list[Rejected] = []
    path = sheet_xml(tmp_path / "a.xlsx", f"<sheetData>{body}</sheetData>")
    records, report = read_records(path, rejected=found.append)
    assert len(records) == 1 and report.skipped == {"too_many_cells": 1}
    assert (found[0].row, len(found[0].cells), found[0].cells[-1]) == (1048576, WIDEST + 1, "z")


def test_a_cell_of_ten_megabytes_is_left_out(tmp_path: Path) -> None:
    body = f'{TOP}<row r="2">{inline("A2", "咳" * 3_500_000)}{inline("B2", "x")}</row><row r="3">{inline("A3", "痛")}{inline("B3", "y")}</row>'
    records, report = read_records(sheet_xml(tmp_path / "a.xlsx", f"<sheetData>{body}</sheetData>"))
    assert [record.chief_complaint for record in records] == ["痛"]
    assert report.skipped == {"cell_too_long": 1}


def test_phonetic_readings_and_formatted_runs(tmp_path: Path) -> None:
    strings = "<si><t>主诉</t></si><si><t>标签</t></si><si><r><t>咳</t></r><r><t>嗽</t></r><rPh><t>ke</t></rPh></si><si><t>x</t></si>"
    rows = "".join(
        f'<x:row r="{row}"><x:c r="A{row}" t="s"><x:v>{a}</x:v></x:c><x:c t="s"><x:v>{a + 1}</x:v></x:c></x:row>'
        for row, a in ((1, 0), (2, 2))
    )
    path = sheet_xml(tmp_path / "a.xlsx", f'<x:sheetData xmlns:x="m">{rows}</x:sheetData>', strings=strings)
    (record,), _ = read_records(path)
    assert (record.chief_complaint, record.labels) == ("咳嗽", ("x",))


@pytest.mark.parametrize(
    ("number", "code", "built_in", "text"),
    [
        ("38.5", "General", 0, "38.5"),
        ("0.30000000000000004", "", 0, "0.3"),
        ("3.0", "", 0, "3"),
        ("1E-5", "", 0, "0.00001"),
        ("-7", "", 0, "-7"),
        ("1163476", "0000000000", 0, "0001163476"),
        ("60", "", 14, "1900-02-28"),
        ("61", "", 14, "1900-03-01"),
        ("59", "", 14, "1900-02-28"),
        ("46082", "[$-804]yyyy-mm-dd;@", 0, "2026-03-01"),
        ("46082.35416666667", "", 22, "2026-03-01 08:30:00"),
        ("0.5", "h:mm", 0, "12:00:00"),
        ("46082", '"共"0"天"', 0, "46082"),
        ("46082", "[Red]0.00", 0, "46082"),
        ("-5", "yyyy", 0, "-5"),
        ("999999999999999", "", 0, "999999999999999"),
    ],
)
def test_numbers_as_the_sheet_shows_them(number: str, code: str, built_in: int, text: str) -> None:
    numbers = Numbers()
    assert numbers.text(number, number_format(code, built_in), 0) == text
    assert not numbers.lost_digits


def test_days_that_count_from_1904() -> None:
    assert Numbers(since_1904=True).text("44620", number_format("", 14), 0) == "2026-03-01"


VALID = io.BytesIO()
with xlsxwriter.Workbook(VALID) as _book:
    _sheet = _book.add_worksheet()
    for _row in range(30):
        _sheet.write_row(_row, 0, ["主诉", "标签", "患者ID"] if not _row else [f"咳{_row}", "x", _row])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID.getvalue()) - 1), st.integers(0, 255)), max_size=12),
    st.booleans(),
)
def test_any_damage_gives_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut_off: bool
) -> None:
    data = bytearray(VALID.getvalue())
    for at, value in changes:
        data[at] = value
    if cut_off and changes:
        data = data[: changes[0][0]]
    path = tmp_path_factory.mktemp("fuzz") / "a.xlsx"
    path.write_bytes(data)
    try:
        records, report = read_records(path)
    except DataError:
        return
    assert len(records) == report.kept


XML = st.recursive(
    st.sampled_from(
        ["", "<v>1</v>", "<v>x</v>", "<f>A1</f>", "<is><t>主诉</t></is>", "<v>9e999</v>", "&lt;", "<rPh/>"]
    ),
    lambda inner: st.builds(
        lambda name, attributes, parts: f"<{name} {attributes}>{''.join(parts)}</{name}>",
        st.sampled_from(["row", "c", "v", "t", "is", "si", "rPh", "mergeCell"]),
        st.sampled_from(
            [
                "",
                'r="A1"',
                'r="2"',
                't="s"',
                't="b"',
                't="d"',
                't="inlineStr"',
                's="-1"',
                's="9"',
                'ref="A1:B9"',
                'r="ZZZ9"',
            ]
        ),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(XML, max_size=8))
def test_any_xml_gives_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    path = sheet_xml(
        tmp_path_factory.mktemp("xml") / "a.xlsx", f"<sheetData>{TOP}{''.join(parts)}</sheetData>"
    )
    try:
        records, report = read_records(path)
    except DataError:
        return
    assert len(records) == report.kept


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_behind_a_spreadsheet_magic_are_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("magic") / "a.xls"
    for magic in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        path.write_bytes(magic + data)
        with pytest.raises(DataError):
            read_records(path)
