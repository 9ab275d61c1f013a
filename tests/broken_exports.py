"""Broken exports of one clinic, each with one defect (and one with most of them), and what is to be said of each.

Every export holds the identifiers `SECRETS` in its cells and texts.
"""

from __future__ import annotations

import codecs
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow
import pyarrow.parquet
import xlsxwriter

from clinic_export import HEADER, Row, clean_rows, text_of

NAME, PHONE = "上官飞燕", "13911112222"
ROWS = 80
SECRETS = (NAME, PHONE, "P10003", clean_rows()[6]["身份证号"], clean_rows()[20]["身份证号"])
LONG = 10 << 20

Make = Callable[[Path], Path]
Change = Callable[[list[Row]], object]


@dataclass(frozen=True)
class Read:
    """An export that can be read: `rows` in it, those `left_out` and `repaired` by reason, `found`: all findings that are not ok,
    but for those that repeat `left_out` and `repaired`. `unlabelled`: how many of those left out lack a label only, which a copy
    does not need."""

    name: str
    make: Make
    rows: int = ROWS
    left_out: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    code: int = 0


@dataclass(frozen=True)
class Refused:
    """An export that can't be read, parts of the message, and the exit code."""

    name: str
    make: Make
    says: tuple[str, ...]
    code: int = 1


def rows_with(change: Change = lambda rows: None) -> list[Row]:
    """The clean rows, with planted identifiers in some texts, after `change`."""
    rows = clean_rows()
    for row in rows[::20]:
        row["现病史"] += f"患者{NAME}，电话{PHONE}。"
    change(rows)
    return rows


def csv_file(
    change: Change = lambda rows: None,
    text: Callable[[str], str] = lambda text: text,
    encoding: str = "utf-8",
    data: Callable[[bytes], bytes] = lambda data: data,
) -> Make:
    """An export as CSV: the rows, the text and the bytes may be changed."""

    def make(folder: Path) -> Path:
        path = folder / "export.csv"
        path.write_bytes(data(text(text_of(rows_with(change))).encode(encoding)))
        return path

    return make


def lines(change: Callable[[list[str]], object]) -> Make:
    """The same, its lines changed."""

    def apply(text: str) -> str:
        parts = text.splitlines()
        change(parts)
        return "\r\n".join(parts) + "\r\n"

    return csv_file(text=apply)


def raw(content: bytes, name: str = "export.csv") -> Make:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cells(column: str, *values: str, both: bool = False) -> Change:
    """The values in a column, each for another patient (`both`: in both of its visits)."""

    def apply(rows: list[Row]) -> None:
        for number, value in enumerate(values):
            for visit in (0, 1) if both else (1,):
                rows[6 * number + visit][column] = value

    return apply


def all_of(*changes: Change) -> Change:
    """One change after the other."""

    def apply(rows: list[Row]) -> None:
        for change in changes:
            change(rows)

    return apply


def near_copies(rows: list[Row]) -> None:
    for at in (10, 30, 50):  # other patients' texts, a few characters changed
        rows[at]["主诉"], rows[at]["现病史"] = rows[at + 7]["主诉"], rows[at + 7]["现病史"][:-3] + "另诉。"


def duplicates(rows: list[Row]) -> None:
    rows += [{**rows[at], "就诊流水号": f"9{at}"} for at in (3, 9, 41)]


def same_visits(rows: list[Row]) -> None:
    for at in (11, 31):
        rows.append(
            {
                **rows[at],
                "就诊流水号": f"8{at}",
                "主诉": "另诉腹痛2天",
                "现病史": rows[at + 8]["现病史"][::-1],
            }
        )


def merged_blanks(rows: list[Row]) -> None:
    for patient in range(30):
        rows[2 * patient + 1]["性别"] = ""


def workbook(
    change: Change = lambda rows: None,
    after: Callable[[xlsxwriter.Workbook, object], object] = lambda book, sheet: None,
) -> Make:
    """An export as a workbook; `after` writes more into the sheet."""

    def make(folder: Path) -> Path:
        path = folder / "export.xlsx"
        with xlsxwriter.Workbook(path, {"strings_to_numbers": False, "strings_to_formulas": False}) as book:
            sheet = book.add_worksheet()
            sheet.write_row(0, 0, HEADER)
            for number, row in enumerate(rows_with(change), 1):
                sheet.write_row(number, 0, [row[name] for name in HEADER])
            after(book, sheet)
        return path

    return make


def merged_downwards(book: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
    rows = rows_with()
    for patient in range(5):
        row = rows[2 * patient]
        sheet.merge_range(2 * patient + 1, 4, 2 * patient + 2, 4, row["性别"], book.add_format())


def cell_of(
    value: Callable[[xlsxwriter.worksheet.Worksheet, int, int], object], column: str, *at: int
) -> Callable[..., object]:
    def after(book: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
        for number in at:
            value(sheet, number, HEADER.index(column))

    return after


def json_lines(change: Change = lambda rows: None, more: Sequence[str] = ()) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "export.jsonl"
        text = [json.dumps(row, ensure_ascii=False) for row in rows_with(change)]
        path.write_text("\n".join([*text[:5], *more, *text[5:]]) + "\n", encoding="utf-8")
        return path

    return make


def parquet(change: Callable[[dict[str, list[object]]], object] = lambda table: None) -> Make:
    def make(folder: Path) -> Path:
        table: dict[str, list[object]] = {name: [row[name] for row in rows_with()] for name in HEADER}
        change(table)
        pyarrow.parquet.write_table(pyarrow.table(table), folder / "export.parquet", row_group_size=20)
        return folder / "export.parquet"

    return make


def binary_column(table: dict[str, list[object]]) -> None:
    table["就诊科室"] = [
        b"\xff\xfe" if at < 4 else str(value).encode() for at, value in enumerate(table["就诊科室"])
    ]


def write_database(path: Path, rows: list[Row]) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table visits (" + ", ".join(f'"{name}" text' for name in HEADER) + ")")
        database.executemany(
            f"insert into visits values ({', '.join('?' * len(HEADER))})",
            [[row[name] for name in HEADER] for row in rows],
        )
        database.commit()


def database(
    settings: str = 'table = "visits"',
    change: Change = lambda rows: None,
    after: Callable[[Path], object] = lambda path: None,
) -> Make:
    """An SQLite database and the site's settings, which are returned."""

    def make(folder: Path) -> Path:
        write_database(folder / "his.db", rows_with(change))
        after(folder / "his.db")
        (folder / "SITE.toml").write_text(f'source = "sqlite:///his.db"\n{settings}\n', encoding="utf-8")
        return folder / "SITE.toml"

    return make


def statements(*given: str) -> Callable[[Path], object]:
    def after(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            for statement in given:
                connection.execute(statement)
            connection.commit()

    return after


def site(settings: str) -> Make:
    """Settings of a site whose source is not made."""

    def make(folder: Path) -> Path:
        (folder / "SITE.toml").write_text(settings, encoding="utf-8")
        return folder / "SITE.toml"

    return make


def cut(make: Make, share: float, name: str = "") -> Make:
    """The file (or the one called `name` beside it) up to a share of its bytes."""

    def cut_off(folder: Path) -> Path:
        made = make(folder)
        path = folder / name if name else made
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return made

    return cut_off


_PARTS = {
    "xl/workbook.xml": '<workbook xmlns:r="r"><sheets><sheet name="a" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
}


def zipped(parts: Mapping[str, bytes], *, claim: int = 0) -> Make:
    """A workbook of hand-written parts; `claim`: the size of the sheet that the ZIP directory is made to lie about."""

    def make(folder: Path) -> Path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in {**{name: text.encode() for name, text in _PARTS.items()}, **parts}.items():
                archive.writestr(name, content)
        data = buffer.getvalue()
        if claim:
            true = len(parts["xl/worksheets/sheet1.xml"])
            data = data.replace(true.to_bytes(4, "little"), claim.to_bytes(4, "little"))
        (folder / "export.xlsx").write_bytes(data)
        return folder / "export.xlsx"

    return make


def inline(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


_TOP = f'<row r="1">{inline("A1", "主诉")}{inline("B1", "诊断编码")}</row>'
_ENTITIES = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + f']><worksheet><sheetData>{_TOP}<row r="2">{inline("A2", "&j;")}{inline("B2", "I10")}</row></sheetData></worksheet>'
)
_LONG_CELL = (
    f'<worksheet><sheetData>{_TOP}<row r="2">{inline("A2", "痛" * (LONG // 3))}{inline("B2", "I10")}</row>'
    f'<row r="3">{inline("A3", "头痛3天")}{inline("B3", "I10")}</row></sheetData></worksheet>'
)
BOMBS = [
    Refused(
        "a zip bomb named xlsx",
        zipped({"xl/worksheets/sheet1.xml": b" " * (200 << 20)}),
        ("exhaust memory", "CSV"),
    ),
    Refused(
        "a zip bomb that lies about its size",
        zipped({"xl/worksheets/sheet1.xml": b"<worksheet>" + b" " * (200 << 20)}, claim=4096),
        ("damaged", ".xlsx"),
    ),
    Refused("a bomb of entities", zipped({"xl/worksheets/sheet1.xml": _ENTITIES.encode()}), ("damaged",)),
    Refused(
        "a bomb of shared texts",
        zipped({"xl/sharedStrings.xml": b"<sst>" + b"<si/>" * (40 << 20)}),
        ("exhaust memory",),
    ),
    Refused(
        "a cell of ten megabytes", csv_file(cells("现病史", "痛" * (LONG // 3))), ("row 3", "longer than")
    ),
    Refused("a line of twenty megabytes", raw(b"\xe7\x97\x9b" * (20 << 20)), ("no line end",)),
]
"""Files that are made to fill the memory."""

_REPEATED_HEADER = ",".join(HEADER)


def ragged_long(text: list[str]) -> None:
    for at in (5, 25, 45):
        text[at] += f",{NAME}"


def ragged_short(text: list[str]) -> None:
    for at in (4, 24):
        text[at] = text[at].rpartition(",")[0]


def header_again(text: list[str]) -> None:
    for at in (61, 41, 21):
        text.insert(at, text[0])


def empty_lines(text: list[str]) -> None:
    for at in (50, 30):
        text.insert(at, "," * (len(HEADER) - 1))


def titles(text: list[str]) -> None:
    text[0:0] = ["某院门诊导出", "2026年第一季度,,"]


def most_of_them(folder: Path) -> Path:
    changes = all_of(
        cells("就诊日期", "2023-13-40", "2999-01-01", "45356"),
        lambda rows: rows[25].update({"性别": "先生"}),
        lambda rows: rows[27].update({"年龄": "200岁"}),
        lambda rows: rows[33].update({"主诉": "", "现病史": ""}),
        lambda rows: rows[35].update({"诊断编码": "V01"}),
        lambda rows: rows[37].update({"诊断编码": "", "初步诊断": ""}),
        duplicates,
    )
    text = text_of(rows_with(changes)).splitlines()
    for change in (ragged_long, ragged_short, header_again, empty_lines, titles):
        change(text)
    (folder / "export.csv").write_bytes(("\r\n".join(text) + "\r\n").encode("gb18030"))
    return folder / "export.csv"


READ = [
    Read("a clean one", csv_file()),
    Read("encoding: gb18030", csv_file(encoding="gb18030")),
    Read("encoding: utf-16 with a mark", csv_file(encoding="utf-16")),
    Read("encoding: utf-8 with a mark", csv_file(encoding="utf-8-sig")),
    Read("line ends of an old Macintosh", csv_file(text=lambda text: text.replace("\r\n", "\r"))),
    Read("an end-of-file mark of DOS", csv_file(data=lambda data: data + b"\x1a")),
    Read("tabs in a file named csv", csv_file(text=lambda text: text.replace(",", "\t"))),
    Read("semicolons", csv_file(text=lambda text: text.replace(",", ";"))),
    Read("titles above the header", lines(titles), rows=82, left_out={"above_header": 2}),
    Read("the header again", lines(header_again), rows=83, left_out={"repeated_header": 3}),
    Read("rows too long", lines(ragged_long), left_out={"too_many_cells": 3}),
    Read("rows too short", lines(ragged_short), repaired={"too_few_cells": 2}),
    Read("empty rows", lines(empty_lines), rows=82, left_out={"empty_row": 2}),
    Read(
        "line breaks in cells",
        csv_file(cells("就诊科室", "内\n科", "全科\r\n医学科")),
        found={"file.line_breaks": 2},
    ),
    Read("cells that were merged", csv_file(merged_blanks), found={"file.merged_cells": 30}),
    Read("merged cells of a workbook", workbook(after=merged_downwards), repaired={"merged_cells": 5}),
    Read("duplicates", csv_file(duplicates), rows=83, found={"records.duplicates": 3}),
    Read("near-copies across patients", csv_file(near_copies), found={"records.near_copies_across": 3}),
    Read("one visit in two rows", csv_file(same_visits), rows=82, found={"records.duplicate_visits": 2}),
    Read(
        "one number for several records",
        csv_file(cells("就诊流水号", "1000000", "1000000")),
        found={"records.same_number": 2},
    ),
    Read(
        "texts that are missing",
        csv_file(all_of(cells("主诉", "", ""), cells("现病史", "", ""))),
        left_out={"no_text": 2},
    ),
    Read(
        "labels that are missing",
        csv_file(all_of(cells("诊断编码", "", "", ""), cells("初步诊断", "", "", ""))),
        left_out={"no_label": 3},
        unlabelled=3,
    ),
    Read(
        "a column that is mostly empty",
        csv_file(lambda rows: [row.update({"就诊科室": ""}) for row in rows[:60]]),
        found={"file.empty_fields": 60},
    ),
    Read(
        "impossible dates",
        csv_file(cells("就诊日期", "2023-13-40", "2023-02-30", "昨天")),
        found={"values.date_impossible": 3},
    ),
    Read("dates in the future", csv_file(cells("就诊日期", "2999-01-01")), found={"values.date_future": 1}),
    Read("days as numbers", csv_file(cells("就诊日期", "45356", "45357")), found={"values.date_serial": 2}),
    Read("impossible ages", csv_file(cells("年龄", "200岁", "-3岁")), found={"values.age_impossible": 2}),
    Read(
        "ages that are no number", csv_file(cells("年龄", "不详", NAME)), found={"values.age_unreadable": 2}
    ),
    Read("sexes that are none", csv_file(cells("性别", "先生", NAME)), found={"values.sex_unreadable": 2}),
    Read(
        "sex and diagnosis contradict",
        csv_file(all_of(cells("性别", "男", both=True), cells("诊断编码", "O80.900"), cells("初步诊断", ""))),
        found={"contradictions.sex": 1},
    ),
    Read(
        "age and diagnosis contradict",
        csv_file(all_of(cells("诊断编码", "P07.300"), cells("初步诊断", ""))),
        found={"contradictions.age": 1},
    ),
    Read(
        "code and text contradict",
        csv_file(all_of(cells("诊断编码", "I10.x00"), cells("初步诊断", "急性上呼吸道感染"))),
        found={"contradictions.code_text": 1},
    ),
    Read(
        "codes without a label",
        csv_file(cells("诊断编码", "V01.000", "Y99.000")),
        found={"labels.unmapped": 2},
    ),
    Read("codes that are none", csv_file(cells("诊断编码", "I1O.x00", NAME)), found={"labels.unmapped": 2}),
    Read(
        "the label in the text",
        csv_file(lambda rows: rows[5].update({"现病史": rows[5]["现病史"] + "门诊以“高血压”收入院。"})),
        found={"labels.leakage": 1},
    ),
    Read(
        "one id card for two patients",
        csv_file(
            lambda rows: [rows[at].update({"身份证号": rows[30]["身份证号"], "年龄": ""}) for at in (40, 41)]
        ),
        found={"patients.shared_id_card": 1},
    ),
    Read(
        "one patient of two sexes",
        csv_file(lambda rows: rows[7].update({"性别": "女" if rows[6]["性别"] == "男" else "男"})),
        found={"patients.several_sexes": 1},
    ),
    Read(
        "formulas without a value",
        workbook(
            after=cell_of(
                lambda sheet, row, column: sheet.write_formula(row, column, "=A1", None, ""), "就诊科室", 3, 5
            )
        ),
    ),
    Read(
        "error values of a workbook",
        workbook(
            after=cell_of(
                lambda sheet, row, column: sheet.write_formula(row, column, "=1/0", None, "#N/A"),
                "就诊科室",
                3,
                5,
            )
        ),
        repaired={"error_value": 2},
    ),
    Read("formulas to inject", csv_file(cells("现病史", '=HYPERLINK("x")', "@SUM(1)", "+1", "-2"))),
    Read(
        "a cell of ten megabytes in a workbook",
        zipped({"xl/worksheets/sheet1.xml": _LONG_CELL.encode()}),
        rows=2,
        left_out={"cell_too_long": 1},
        found={"file.patient_column": 1},
    ),
    Read(
        "null characters",
        json_lines(cells("就诊科室", "内\x00科", "\x00外科")),
        repaired={"null_characters": 2},
    ),
    Read(
        "lines that are no JSON",
        json_lines(more=[f'{{"主诉": "{NAME}"', "[1, 2]", "null"]),
        rows=83,
        left_out={"broken_line": 3},
    ),
    Read(
        "a cell of ten megabytes in a line",
        json_lines(cells("现病史", "痛" * (LONG // 3))),
        left_out={"cell_too_long": 1},
    ),
    Read("binary values", parquet(binary_column), repaired={"binary_value": 4}),
    Read("a database", database()),
    Read(
        "NULL and blobs in a database",
        database(
            after=statements(
                "update visits set 就诊科室 = x'fffe' where rowid < 4",
                "update visits set 初步诊断 = NULL where rowid > 78",
            )
        ),
        repaired={"binary_value": 3},
    ),
    Read("a query that takes a part", database('query = "SELECT * FROM visits WHERE rowid <= 40"'), rows=40),
    Read(
        "most of them at once",
        most_of_them,
        rows=90,
        left_out={
            "above_header": 2,
            "empty_row": 2,
            "no_label": 1,
            "no_text": 1,
            "repeated_header": 3,
            "too_many_cells": 3,
        },
        repaired={"too_few_cells": 2},
        found={
            "records.duplicates": 2,
            "records.duplicate_visits": 1,  # a duplicate whose first row was cut off
            "values.date_impossible": 1,
            "values.date_future": 1,
            "values.date_serial": 1,
            "values.age_impossible": 1,
            "values.sex_unreadable": 1,
            "labels.unmapped": 1,
        },
        unlabelled=1,
    ),
]

_TEXT = "主诉,诊断编码\n头痛3天,I10.x00\n咳嗽,J06.900\n"
REFUSED = [
    Refused("no such file", lambda folder: folder / "export.csv", ("no such file",)),
    Refused("a folder", lambda folder: (folder / "export.csv").mkdir() or folder / "export.csv", ("folder",)),
    Refused("an empty file", raw(b""), ("empty", "at least one row")),
    Refused("blank lines", raw(b" \n\n\t\n"), ("empty",)),
    Refused("a header only", raw(_REPEATED_HEADER.encode()), ("no row below",)),
    Refused("binary", raw(bytes(range(256)) * 40), ("binary file",)),
    Refused("a picture named csv", raw(b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 99), ("binary file",)),
    Refused(
        "null bytes", csv_file(data=lambda data: data[:5000] + b"\x00\x00" + data[5000:]), ("null bytes",)
    ),
    Refused(
        "rows of two encodings",
        raw(_TEXT.encode() * 3 + f"{NAME}腹痛,K29\n".encode("gb18030")),
        ("mixed encodings", "row 10"),
    ),
    Refused("neither encoding", raw(b"\xff" + _TEXT.encode("gb18030") + b"\x80\xff"), ("UTF-8",)),
    Refused("a mark and other bytes", raw(codecs.BOM_UTF8 + _TEXT.encode("gb18030")), ("begins as utf-8",)),
    Refused("utf-16 cut off", raw(_TEXT.encode("utf-16")[:-1]), ("utf-16",)),
    Refused(
        "a page named xls",
        raw(f"<html><table><tr><td>{NAME}</td></tr></table></html>".encode(), "export.xls"),
        ("web page",),
    ),
    Refused("one column, no text", raw(f"甲\n{NAME}\n头痛\n".encode()), ("no text column",)),
    Refused("no header", raw(f"{NAME},I10\n头痛三天,J06\n".encode()), ("no text column",)),
    Refused(
        "a quotation mark that never closes",
        csv_file(text=lambda text: text + f'9,"{NAME},I10\r\n'),
        ("quotation mark", "row 82"),
    ),
    Refused(
        "no text in any row", raw("主诉,诊断编码\n,I10\n,J06\n".encode()), ("none of 2 rows", "no text: 2")
    ),
    Refused("a workbook cut off", cut(workbook(), 0.6), ("damaged",)),
    Refused(
        "a workbook with a password",
        raw(
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600 + "EncryptedPackage".encode("utf-16-le"),
            "export.xlsx",
        ),
        ("password",),
    ),
    Refused(
        "an old workbook of junk",
        raw(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(range(256)) * 20, "export.xls"),
        ("damaged or no workbook",),
    ),
    Refused(
        "an archive that is no workbook",
        zipped({"word/document.xml": b"<a/>", "xl/workbook.xml": b"<workbook/>"}),
        ("empty",),
    ),
    Refused(
        "patient numbers whose digits are lost",
        workbook(
            after=cell_of(
                lambda sheet, row, column: sheet.write_number(row, column, 110101199003077512), "患者ID", 3, 9
            )
        ),
        ("more than 15 digits", "loses: 2"),
    ),
    Refused("a damaged Parquet file", cut(parquet(), 0.7), ("Parquet", "damaged")),
    Refused(
        "a Parquet file without rows",
        parquet(lambda table: [column.clear() for column in table.values()]),
        ("empty",),
    ),
    Refused(
        "one JSON list",
        raw(json.dumps([{"主诉": NAME}], indent=1).encode(), "export.jsonl"),
        ("no line holds a JSON object",),
    ),
    Refused(
        "too many keys",
        raw(json.dumps({f"k{n}": NAME for n in range(3000)}).encode(), "export.jsonl"),
        ("more than 2048",),
    ),
    Refused("a table that is not there", database('table = "none"'), ("no such table",)),
    Refused(
        "a column that is not there", database(f'query = "SELECT {NAME} FROM visits"'), ("no such column",)
    ),
    Refused(
        "a query that is none",
        database(f"query = \"SELECT * FROM visits WHERE 主诉 = '{NAME}' LIMT 3\""),
        ("not understood",),
    ),
    Refused(
        "a query that deletes",
        database('query = "WITH a AS (SELECT 1) DELETE FROM visits"'),
        ("would change",),
    ),
    Refused("a query without a row", database('query = "SELECT * FROM visits WHERE 0"'), ("no row below",)),
    Refused("a damaged database", cut(database(), 0.4, "his.db"), ("SQLite",)),
    Refused("no database", site('source = "sqlite:///none.db"\ntable = "visits"\n'), ("no such file",)),
    Refused(
        "a server that is not there",
        site('source = "postgresql+psycopg://reader@127.0.0.1:1/his"\ntable = "v"\n'),
        ("can't be reached",),
    ),
    Refused(
        "a query that only begins as one", database('query = "DROP TABLE visits"'), ("SELECT or WITH",), 2
    ),
    Refused(
        "a password in the URL",
        site(f'source = "postgresql://reader:{PHONE}@db.local/his"\ntable = "v"\n'),
        ("password",),
        2,
    ),
    Refused("neither query nor table", database(""), ("query",), 2),
    Refused("a column map that is wrong", lambda folder: _mapped(folder), ("columns", "ZS")),
]


def _mapped(folder: Path) -> Path:
    csv_file()(folder)
    return site('source = "export.csv"\n[columns]\nchief_complaint = "ZS"\n')(folder)
