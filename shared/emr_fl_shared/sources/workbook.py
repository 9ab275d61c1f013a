"""Excel workbooks (.xlsx), row by row: every cell becomes the text that a person sees.

Own reader on zipfile and expat instead of a library, see docs/adr/0008-sources.md: memory stays flat whatever the file claims, leading
zeros that a number format shows are kept, and formulas without a saved value are seen. No macro or external link is ever touched.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.parsers import expat

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.files import RecordFile, unreadable
from emr_fl_shared.sources.sheet_xml import SheetParser, column_number, elements, shared_strings
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

UNPACKED = 2 << 30
"""Bytes that all parts of a workbook may have unpacked."""
STRINGS = 512 << 20
"""Bytes of its table of texts, which has to be in memory."""
_SUSPECT, _RATIO, _PARTS = 64 << 20, 200, 10_000
_MERGES = 100_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
_OVERLAP = 256


def read_workbook(file: RecordFile, columns: Mapping[str, str] | None = None, *, sheet: str = "") -> Table:
    """The table of a sheet of an .xlsx file: the one named `sheet`, or the first with an understood header.

    Raises `DataError` for a file that is damaged, encrypted, no workbook, or larger unpacked than `UNPACKED`, and for a
    sheet that is not there or empty.
    """
    with _clear(file.path):
        book = _Workbook(file)
        sheets = [Sheet(name, hidden, partial(book.rows, part)) for name, part, hidden in book.sheets]
    return table_of(file, "xlsx", sheets, columns, wanted=sheet, since_1904=book.since_1904)


@dataclass(slots=True)
class _Workbook:
    """The parts of a workbook. `sheets`: (name, part, hidden)."""

    file: RecordFile
    archive: zipfile.ZipFile
    sheets: list[tuple[str, str, bool]]
    since_1904: bool
    formats: list[NumberFormat]
    strings: list[str]

    def __init__(self, file: RecordFile) -> None:
        self.file = file
        self.archive = zipfile.ZipFile(file.open())
        _check_directory(self.archive, file.path)
        workbook = self._main_part()
        targets = self._targets(workbook)
        self.sheets, self.since_1904 = [], False
        for name, attributes in self._elements(workbook):
            if name == "sheet":
                part = targets.get(next((v for k, v in attributes.items() if k.endswith(":id")), ""), "")
                if part and "worksheet" in part:
                    hidden = attributes.get("state", "visible") != "visible"
                    self.sheets.append((attributes.get("name", ""), part, hidden))
            elif name == "workbookPr":
                self.since_1904 = attributes.get("date1904", "0") in ("1", "true")
        folder = posixpath.dirname(workbook)
        self.formats = self._formats(posixpath.join(folder, "styles.xml"))
        strings = posixpath.join(folder, "sharedStrings.xml")
        self.strings = []
        if strings in self.archive.NameToInfo:
            if self.archive.getinfo(strings).file_size > STRINGS:
                raise _too_large(file.path)
            with self.archive.open(strings) as stream:
                self.strings = shared_strings(stream)

    def rows(self, part: str, numbers: Numbers) -> Iterator[Row]:
        """The rows of a sheet that have any value, under their own numbers."""
        with _clear(self.file.path):
            merged = Merged(self._merged(part), numbers.repaired)
            parser = SheetParser(self.strings, self.formats, numbers)
            with self.archive.open(part) as stream:
                for number, cells in parser.rows(stream):
                    if not any(value.strip() for value in cells.values()):
                        continue
                    merged.fill(number, cells)
                    yield Row(number, [cells.get(column, "") for column in range(max(cells) + 1)])

    def _main_part(self) -> str:
        names = self.archive.NameToInfo
        if "_rels/.rels" in names:
            for _, attributes in self._elements("_rels/.rels"):
                if attributes.get("Type", "").endswith("/officeDocument"):
                    part = attributes.get("Target", "").lstrip("/")
                    if part in names and part.endswith(".xml") and "xl" in part:
                        return part
        if "xl/workbook.xml" in names:
            return "xl/workbook.xml"
        raise DataError(
            tr(
                "this is a ZIP file, but no Excel workbook (.xlsx)",
                "这是 ZIP 文件，但不是 Excel 工作簿（.xlsx）",
            ),
            where=str(self.file.path),
            do=tr(
                "save it as an Excel workbook (.xlsx) or as CSV (UTF-8)",
                "请另存为 Excel 工作簿（.xlsx）或 CSV（UTF-8）",
            ),
        )

    def _targets(self, workbook: str) -> dict[str, str]:
        """Relation → part of the workbook's sheets."""
        folder, name = posixpath.split(workbook)
        found: dict[str, str] = {}
        for _, attributes in self._elements(f"{folder}/_rels/{name}.rels"):
            target = attributes.get("Target", "")
            part = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
            found[attributes.get("Id", "")] = posixpath.normpath(part)
        return found

    def _formats(self, part: str) -> list[NumberFormat]:
        """The number format of each cell style."""
        if part not in self.archive.NameToInfo:
            return []
        codes: dict[str, str] = {}
        formats: list[NumberFormat] = []
        inside = False
        for name, attributes in self._elements(part, ends=("cellXfs",)):
            if name == "numFmt":
                codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
            elif name in ("cellXfs", "/cellXfs"):
                inside = name == "cellXfs"
            elif name == "xf" and inside:
                number = attributes.get("numFmtId", "0")
                formats.append(
                    number_format(codes[number]) if number in codes else number_format("", int(number))
                )
        return formats or [GENERAL]

    def _elements(self, part: str, ends: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, str]]]:
        with self.archive.open(part) as stream:
            yield from elements(stream, ends)

    def _merged(self, part: str) -> dict[int, list[tuple[int, int]]]:
        """First row → (column, last row) of cells that are merged downwards; they stand behind the rows."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        count, kept = 0, b""
        with self.archive.open(part) as stream:
            while piece := stream.read(1 << 20):
                data = kept + piece
                end = 0
                for match in _MERGED.finditer(data):
                    end, count = match.end(), count + 1
                    first, last = int(match[2]), int(match[4])
                    if last > first and count <= _MERGES:
                        found[first].append((column_number(match[1].decode()), last))
                kept = data[max(end, len(data) - _OVERLAP) :]
        return found


def _check_directory(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse what would not fit before anything is unpacked; zipfile never unpacks more than the directory says."""
    parts = archive.infolist()
    total = 0
    for part in parts:
        total += part.file_size
        if part.flag_bits & 0x1:
            raise _encrypted(path)
        if part.file_size > _SUSPECT and part.file_size > _RATIO * max(part.compress_size, 1):
            raise _too_large(path)
    if total > UNPACKED or len(parts) > _PARTS:
        raise _too_large(path)


def _too_large(path: Path) -> DataError:
    return DataError(
        tr(
            "the workbook is too large unpacked, or made to exhaust memory",
            "工作簿解压后过大，或为耗尽内存而构造",
        ),
        where=str(path),
        expected=tr(f"at most {UNPACKED >> 30} GB unpacked", f"解压后至多 {UNPACKED >> 30} GB"),
        do=tr("export the table as CSV (UTF-8)", "请将表格导出为 CSV（UTF-8）"),
    )


def _encrypted(path: Path) -> DataError:
    return DataError(
        tr("the workbook is protected by a password", "工作簿受密码保护"),
        where=str(path),
        do=tr("save it without a password, on this machine only", "请仅在本机上另存为不带密码的文件"),
    )


@contextmanager
def _clear(path: Path) -> Iterator[None]:
    """Whatever a damaged archive makes zipfile, zlib and expat say, said as one `DataError`."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        expat.ExpatError,
        EOFError,
        KeyError,
        ValueError,
        IndexError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
    ):
        raise DataError(
            tr("this spreadsheet file is damaged", "电子表格文件已损坏"),
            where=str(path),
            do=tr("save it again as .xlsx or as CSV (UTF-8)", "请重新另存为 .xlsx 或 CSV（UTF-8）"),
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
