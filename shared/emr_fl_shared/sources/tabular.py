"""Text of an export to rows of cells: the delimiter is found out, every cell stays text.

Spreadsheet readers turn `0001163476` into a number and merge two 18-digit identifiers; here nothing is converted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.headers import understood

DELIMITERS = (",", "\t", ";", "|")
_SAMPLE_ROWS = 30
_HEADER_WITHIN = 10  # a title and notes may stand above the header


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below a header. `first_row` is the row of the file (from 1) at which `rows` begin."""

    header: tuple[str, ...]
    rows: list[list[str]]
    first_row: int
    above_header: int
    delimiter: str


def parse_table(text: str, path: Path, columns: Mapping[str, str] | None = None) -> Table:
    """Split `text` into header and rows. Empty rows stay in, so that row numbers hold.

    Raises `DataError` for an empty file, a quotation mark that is never closed, or a cell longer than
    `csv.field_size_limit()` characters (131,072 unless changed).
    """
    text = text.rstrip("\x1a")
    if not text.strip("﻿ \t\r\n\v\f"):
        raise DataError(
            tr("the file is empty", "文件是空的"),
            where=str(path),
            expected=tr("a header and at least one row", "列名行和至少一行数据"),
        )
    delimiter = _delimiter(text, columns)
    rows = _rows(text, delimiter, path)
    at = _header_row(rows, columns)
    header = tuple(cell.strip().strip("﻿") for cell in rows[at])
    while header and not header[-1]:
        header = header[:-1]
    above = sum(1 for row in rows[:at] if any(cell.strip() for cell in row))
    return Table(header, rows[at + 1 :], at + 2, above, delimiter)


def _rows(text: str, delimiter: str, path: Path) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    starts: list[int] = []
    begin = 0
    try:
        for row in reader:
            rows.append(row)
            starts.append(begin)
            begin = reader.line_num
    except csv.Error:
        raise _never_closed(path, len(rows) + 1) from None
    if rows and reader.line_num - starts[-1] > 1 and _is_open(text, starts[-1], delimiter):
        if delimiter == "\t":
            # Tab-separated exports often do not quote at all: a quotation mark is a character like any other.
            plain = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
            return list(plain)
        raise _never_closed(path, len(rows))
    return rows


def _is_open(text: str, line: int, delimiter: str) -> bool:
    """Whether the last row, which begins at `line` (from 0), ends inside a quoted cell."""
    lines = list(io.StringIO(text, newline=""))[line:]
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _never_closed(path: Path, row: int) -> DataError:
    limit = csv.field_size_limit()
    return DataError(
        tr(
            f'a cell is not closed or longer than {limit:,} characters: a quotation mark (") '
            "probably opens there and never closes",
            f'单元格没有结束或超过 {limit:,} 个字符：这一行可能有未闭合的引号（"）',
        ),
        where=tr(f"{path}, row {row}", f"{path}，第 {row} 行"),
        do=tr("close or double the quotation mark, or export again", "请补全或双写该引号，或重新导出"),
    )


def _sample(text: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) >= _SAMPLE_ROWS:
                break
    except csv.Error:
        pass  # a broken row is reported when the whole file is read
    return rows


def _delimiter(text: str, columns: Mapping[str, str] | None) -> str:
    """The delimiter with the most understood headers; ties go to the most even rows, then to the usual order."""

    def score(delimiter: str) -> tuple[int, float, int]:
        rows = _sample(text, delimiter)
        known = max((understood(row, columns) for row in rows[:_HEADER_WITHIN]), default=0)
        widths = Counter(len(row) for row in rows)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        even = count / max(len(rows), 1) if width > 1 else 0.0
        return known, even, -DELIMITERS.index(delimiter)

    return max(DELIMITERS, key=score)


def _header_row(rows: Sequence[Sequence[str]], columns: Mapping[str, str] | None) -> int:
    """The row with the most understood headers near the top; the first row that is not empty if there is none."""
    filled = [index for index, row in enumerate(rows[:50]) if any(cell.strip() for cell in row)][
        :_HEADER_WITHIN
    ]
    best = max(filled, key=lambda index: (understood(rows[index], columns), -index))
    return best if understood(rows[best], columns) >= 2 else filled[0]
