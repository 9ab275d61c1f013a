"""Excel workbooks before 2007 (.xls), read with xlrd."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import xlrd
from xlrd.biffh import XLRDError

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.files import RecordFile, unreadable
from emr_fl_shared.sources.report import ERROR_VALUE
from emr_fl_shared.sources.spreadsheet import (
    GENERAL,
    Merged,
    NumberFormat,
    Numbers,
    Sheet,
    number_format,
    table_of,
)
from emr_fl_shared.sources.tabular import Row, Table

LARGEST = 512 << 20
"""Bytes: more than 65,536 rows of notes can fill."""
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def read_old_workbook(
    file: RecordFile, columns: Mapping[str, str] | None = None, *, sheet: str = ""
) -> Table:
    """The table of a sheet of an .xls file, chosen as `read_workbook` does; the file is in memory while it is read.

    Raises `DataError` for a file that is damaged, encrypted or no workbook, and for a sheet that is not there or empty.
    """
    book = _open(file)
    sheets = [
        Sheet(name, bool(book.sheet_by_index(index).visibility), partial(_rows, book, index))
        for index, name in enumerate(book.sheet_names())
    ]
    return table_of(file, "xls", sheets, columns, wanted=sheet, since_1904=bool(book.datemode))


def _open(file: RecordFile) -> Any:
    try:
        with file.open() as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise unreadable(file.path, error) from None
    if _ENCRYPTED in data:
        raise _protected(file)
    if len(data) <= LARGEST:
        try:
            return xlrd.open_workbook(
                file_contents=data, logfile=io.StringIO(), formatting_info=True, ragged_rows=True
            )
        except XLRDError as error:
            if "encrypt" in str(error).lower() or "password" in str(error).lower():
                raise _protected(file) from None
        except Exception:  # xlrd meets damaged files with whatever comes: assertions, struct errors, indices
            pass
    raise DataError(
        tr(
            "this spreadsheet file (.xls) is damaged or no workbook", "电子表格文件（.xls）已损坏或不是工作簿"
        ),
        where=str(file.path),
        do=tr("save it as .xlsx or as CSV (UTF-8)", "请另存为 .xlsx 或 CSV（UTF-8）"),
    )


def _protected(file: RecordFile) -> DataError:
    return DataError(
        tr("the workbook is protected by a password", "工作簿受密码保护"),
        where=str(file.path),
        do=tr("save it without a password, on this machine only", "请仅在本机上另存为不带密码的文件"),
    )


def _rows(book: Any, index: int, numbers: Numbers) -> Iterator[Row]:
    sheet = book.sheet_by_index(index)
    ranges: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for top, below, left, _ in sheet.merged_cells:
        if below - top > 1:
            ranges[top + 1].append((left, below))
    merged = Merged(ranges, numbers.repaired)
    for number in range(1, sheet.nrows + 1):
        cells = {}
        for column, cell in enumerate(sheet.row(number - 1)):
            text = _shown(book, cell, numbers, column)
            if text:
                cells[column] = text
        if any(value.strip() for value in cells.values()):
            merged.fill(number, cells)
            yield Row(number, [cells.get(column, "") for column in range(max(cells) + 1)])


def _shown(book: Any, cell: Any, numbers: Numbers, column: int) -> str:
    if cell.ctype == xlrd.XL_CELL_TEXT:
        return str(cell.value)
    if cell.ctype in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
        return numbers.text(cell.value, _format(book, cell), column)
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return "TRUE" if cell.value else "FALSE"
    if cell.ctype == xlrd.XL_CELL_ERROR:
        numbers.repaired[ERROR_VALUE] += 1
    return ""


def _format(book: Any, cell: Any) -> NumberFormat:
    if cell.ctype == xlrd.XL_CELL_DATE:
        return NumberFormat(is_date=True)
    try:
        key = book.xf_list[cell.xf_index].format_key
        return number_format(book.format_map[key].format_str)
    except (AttributeError, IndexError, KeyError, TypeError):
        return GENERAL
