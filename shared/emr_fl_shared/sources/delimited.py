"""CSV and TSV: the encoding and the delimiter are found out, every cell stays text.

Spreadsheet readers turn `0001163476` into a number and merge two 18-digit identifiers; here nothing is converted.
The file is read in pieces; a quotation mark that never closes is found before the first row is handed out.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.encoding import TextFile, find_encoding
from emr_fl_shared.sources.files import RecordFile
from emr_fl_shared.sources.headers import understood
from emr_fl_shared.sources.tabular import Row, Table, below_header

DELIMITERS = (",", "\t", ";", "|")
_SAMPLE_ROWS = 30
_SAMPLE_LINES = 2000
_SAMPLE_CHARACTERS = 1 << 20
_HEADER_WITHIN = 10


def read_delimited(file: RecordFile, columns: Mapping[str, str] | None = None) -> Table:
    """The table of a CSV or TSV file. Empty rows stay in, so that row numbers hold.

    Raises `DataError` for an empty file, what `find_encoding` refuses, a quotation mark that is never closed, or a cell longer
    than `csv.field_size_limit()` characters (131,072 unless changed); the last two perhaps only while the rows are read.
    """
    text = find_encoding(file)
    head = _head(text)
    _refuse_page(head, file.path)
    delimiter = _delimiter(head, columns)
    quotes = text.quoted and _has_closed_quotes(text, delimiter)
    return below_header(
        _rows(text, delimiter, quotes),
        str(file.path),
        "csv",
        columns,
        encoding=text.encoding,
        delimiter=delimiter,
    )


def _rows(text: TextFile, delimiter: str, quotes: bool) -> Iterator[Row]:
    if quotes:
        reader = csv.reader(text.lines(), delimiter=delimiter)
    else:
        reader = csv.reader(text.lines(), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            yield Row(number, cells)
    except csv.Error:
        raise _never_closed(text.file.path, number + 1) from None


def _has_closed_quotes(text: TextFile, delimiter: str) -> bool:
    """Whether quotation marks enclose cells. Raises `DataError` if one is never closed."""
    reader = csv.reader(text.lines(), delimiter=delimiter)
    number = begin = start = 0
    try:
        for _ in reader:
            number += 1
            start, begin = begin, reader.line_num
    except csv.Error:
        raise _never_closed(text.file.path, number + 1) from None
    if _is_open(islice(text.lines(), start, None), delimiter):
        if delimiter == "\t":
            # Tab-separated exports often do not quote at all: a quotation mark is a character like any other.
            return False
        raise _never_closed(text.file.path, number)
    return True


def _is_open(lines: Iterable[str], delimiter: str) -> bool:
    """Whether the last row, which consists of `lines`, ends inside a quoted cell."""
    try:
        for _ in csv.reader(lines, delimiter=delimiter, strict=True):
            pass
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


def _head(text: TextFile) -> list[str]:
    """The first lines: enough to find the delimiter."""
    lines: list[str] = []
    size = 0
    for line in text.lines():
        lines.append(line)
        size += len(line)
        if len(lines) >= _SAMPLE_LINES or size >= _SAMPLE_CHARACTERS:
            break
    return lines


def _refuse_page(head: list[str], path: Path) -> None:
    """Many systems write a page of HTML and call it a spreadsheet."""
    start = "".join(head[:5]).lstrip("﻿ \t\r\n")[:200].lower()
    if start.startswith(("<html", "<!doctype", "<table", "<?xml", "<head", "<meta")):
        raise DataError(
            tr("this is a web page or XML, not a table of records", "这是网页或 XML 文件，不是记录表"),
            where=str(path),
            do=tr(
                "open it in Excel and save it as .xlsx or CSV (UTF-8)",
                "请用 Excel 打开后另存为 .xlsx 或 CSV（UTF-8）",
            ),
        )


def _sample(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) >= _SAMPLE_ROWS:
                break
    except csv.Error:
        pass  # a broken row is reported when the whole file is read
    return rows


def _delimiter(head: list[str], columns: Mapping[str, str] | None) -> str:
    """The delimiter with the most understood headers; ties go to the most even rows, then to the usual order."""

    def score(delimiter: str) -> tuple[int, float, int]:
        rows = _sample(head, delimiter)
        known = max((understood(row, columns) for row in rows[:_HEADER_WITHIN]), default=0)
        widths = Counter(len(row) for row in rows)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        even = count / max(len(rows), 1) if width > 1 else 0.0
        return known, even, -DELIMITERS.index(delimiter)

    return max(DELIMITERS, key=score)
