"""Bytes of an export to text: byte-order mark, then strict UTF-8, then strict GB18030.

This order decided 720 of 720 Chinese exports right; guessing libraries did not. A file whose rows do not
share one encoding is refused with the number of the row, because every other answer would train on
mojibake. The whole file decides, read in pieces.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.files import RecordFile

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURE_BYTES = 30  # ten Chinese characters of UTF-8
_PIECE = 1 << 20
LONGEST_LINE = 16 << 20
"""Bytes without a line end after which a file is not taken for text: a line must fit into memory."""
# What a text file may hold below the blank: tab, line feed, vertical tab, form feed, return; 0x1A ends old DOS files.
_ALLOWED_CONTROLS = frozenset((0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1A))


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file whose encoding is known. `quoted`: whether a quotation mark stands in it."""

    file: RecordFile
    encoding: str
    quoted: bool

    def lines(self) -> Iterator[str]:
        """The lines with their line ends as they stand in the file, without a final 0x1A."""
        with io.TextIOWrapper(self.file.open(), encoding=self.encoding, newline="") as text:
            for line in text:
                if line.endswith("\x1a"):  # no line end: it is the last one
                    line = line.rstrip("\x1a")
                if line:
                    yield line


def find_encoding(file: RecordFile) -> TextFile:
    """The file with the name of its encoding (`utf-8`, `utf-8-sig`, `utf-16`, `utf-32`, `gb18030`).

    Raises `DataError` if the data is binary, is in neither encoding, mixes encodings, or has a line that is too long to be
    text; the message names the row (the header is row 1), never what stands in it.
    """
    path = file.path
    with file.open() as stream:
        head = stream.read(65536)
    for mark, name in _MARKS:
        if head.startswith(mark):
            bad = _first_bad_byte(file, name.removesuffix("-sig"))  # the mark counts as a character
            if bad is not None:
                raise _undecodable(file, bad, name)
            return TextFile(file, name, _scan(file, marked=True))
    _refuse_controls(head, path)
    quoted = _scan(file, marked=False)
    if _first_bad_byte(file, "utf-8") is None:
        return TextFile(file, "utf-8", quoted)
    _refuse_mixed(file)
    bad = _first_bad_byte(file, "gb18030")
    if bad is not None:
        raise _undecodable(file, bad, "gb18030")
    return TextFile(file, "gb18030", quoted)


def _pieces(file: RecordFile) -> Iterator[bytes]:
    with file.open() as stream:
        while piece := stream.read(_PIECE):
            yield piece


def _scan(file: RecordFile, *, marked: bool) -> bool:
    """Whether there is a quotation mark. Raises `DataError` for null bytes (without a mark) and for endless lines."""
    quoted, since = False, 0
    for piece in _pieces(file):
        if not marked and b"\x00" in piece:
            raise _binary(file.path, tr("null bytes", "含空字节"))
        quoted = quoted or b'"' in piece
        last = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        since = since + len(piece) if last < 0 else len(piece) - last
        if since > LONGEST_LINE:
            raise DataError(
                tr(f"no line end within {LONGEST_LINE >> 20} MB", f"连续 {LONGEST_LINE >> 20} MB 没有换行符"),
                where=str(file.path),
                expected=tr("a row a line", "每行一条记录"),
                do=tr("export it again as CSV (UTF-8)", "请重新导出为 CSV（UTF-8）"),
            )
    return quoted


def _first_bad_byte(file: RecordFile, encoding: str) -> int | None:
    """The offset of the first byte that does not fit the encoding."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done = 0
    try:
        for piece in _pieces(file):
            pending = len(decoder.getstate()[0])
            decoder.decode(piece)
            done += len(piece)
        pending, piece = len(decoder.getstate()[0]), b""
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return done - pending + error.start
    except UnicodeError:  # a mark alone, cut in the middle
        return done
    return None


def _refuse_controls(head: bytes, path: Path) -> None:
    if b"\x00" in head:
        raise _binary(path, tr("null bytes", "含空字节"))
    controls = sum(head.count(byte) for byte in range(0x20) if byte not in _ALLOWED_CONTROLS)
    if controls * 100 > len(head):
        raise _binary(path, tr("control characters", "含控制字符"))


def _binary(path: Path, got: str) -> DataError:
    return DataError(
        tr("this is a binary file, not text", "这是二进制文件，不是文本"),
        where=str(path),
        got=got,
        expected=tr("CSV or TSV in UTF-8 or GB18030", "UTF-8 或 GB18030 编码的 CSV / TSV"),
        do=tr("export it again as CSV (UTF-8)", "请重新导出为 CSV（UTF-8）"),
    )


def _cells(file: RecordFile) -> Iterator[list[bytes]]:
    """The rows as cells of bytes. Quotation marks, line ends and delimiters are the same bytes in UTF-8 and GB18030, but for
    `|`, which may be the second byte of a character of GB18030 and is not taken as one here."""
    text = TextFile(file, "latin-1", quoted=True)
    first = next(text.lines(), "")
    delimiter = max(("\t", ",", ";"), key=first.count)
    for row in csv.reader(text.lines(), delimiter=delimiter):
        yield [cell.encode("latin-1") for cell in row]


def _lines_as_cells(file: RecordFile) -> Iterator[list[bytes]]:
    for line in TextFile(file, "latin-1", quoted=True).lines():
        yield [line.rstrip("\r\n").encode("latin-1")]


def _chinese_and_foreign(row: bytes) -> tuple[int, int] | None:
    """How many characters are those of Chinese text and how many are letters of other scripts; `None` if it is no UTF-8."""
    try:
        text = row.decode("utf-8")
    except UnicodeDecodeError:
        return None
    chinese = sum(1 for char in text if "　" <= char <= "鿿" or "＀" <= char <= "￯")
    return chinese, sum(1 for char in text if "\x80" <= char <= "\u07ff")


def _is_chinese_utf8(row: bytes) -> bool:
    """Strict UTF-8 whose characters are those of Chinese text.

    A few short GB18030 rows happen to be valid UTF-8, but then decode to Latin, Cyrillic or Arabic letters.
    """
    counts = _chinese_and_foreign(row)
    return counts is not None and counts[0] > counts[1]


@dataclass(slots=True)
class _Column:
    """A column's cells that are not ASCII, judged together, which GB18030 does not fulfil by chance."""

    size: int = 0
    chinese: int = 0
    foreign: int = 0
    valid: bool = True

    def add(self, cell: bytes) -> None:
        if not self.valid or cell.isascii():
            return
        counts = _chinese_and_foreign(cell)
        if counts is None:
            self.valid = False
            return
        self.size += len(cell) + 1
        self.chinese += counts[0]
        self.foreign += counts[1]

    def is_utf8(self) -> bool:
        return self.valid and self.size > _SURE_BYTES and self.chinese > self.foreign


def _refuse_mixed(file: RecordFile) -> None:
    """Raise if some rows are UTF-8 and others are not (the first row of the smaller group is named), or if no row is UTF-8 as a
    whole but one column is: columns that were pasted together from two systems."""
    try:
        in_utf8, other, columns = _count_encodings(_cells(file))
    except csv.Error:
        in_utf8, other, columns = _count_encodings(_lines_as_cells(file))
    again = tr(
        "export the whole file again in one encoding, best UTF-8", "请以同一种编码（最好是 UTF-8）重新导出"
    )
    if not in_utf8[0]:
        for number, column in enumerate(columns, 1):
            if column.is_utf8():
                raise DataError(
                    tr(
                        f"mixed encodings: column {number} is UTF-8, others are not",
                        f"编码混杂：第 {number} 列是 UTF-8，其他列不是",
                    ),
                    where=str(file.path),
                    do=again,
                )
    if not in_utf8[0] or not other[0]:
        return
    (count, row), rest = (other, "UTF-8") if other[0] <= in_utf8[0] else (in_utf8, "GB18030")
    raise DataError(
        tr(
            f"mixed encodings: row {row} is not {rest} as most rows are ({count} such rows)",
            f"编码混杂：第 {row} 行不是多数行所用的 {rest}（共 {count} 行）",
        ),
        where=f"{file.path}, row {row}",
        do=again,
    )


def _count_encodings(rows: Iterator[list[bytes]]) -> tuple[tuple[int, int], tuple[int, int], list[_Column]]:
    """(rows in UTF-8, the first of them), the same of the others, and the columns; rows in ASCII only do not count."""
    counts, first = [0, 0], [0, 0]
    columns: list[_Column] = []
    for number, cells in enumerate(rows, 1):
        row = b"\t".join(cells)
        if row.isascii():
            continue
        other = not _is_chinese_utf8(row)
        counts[other] += 1
        first[other] = first[other] or number
        columns += [_Column() for _ in range(len(cells) - len(columns))]
        for column, cell in zip(columns, cells, strict=False):
            column.add(cell)
    return (counts[False], first[False]), (counts[True], first[True]), columns


def _undecodable(file: RecordFile, offset: int, encoding: str) -> DataError:
    where = str(file.path)
    if encoding in ("utf-8-sig", "gb18030"):
        with file.open() as stream:
            line, left = 1, offset
            while left > 0 and (piece := stream.read(min(left, _PIECE))):
                line, left = line + piece.count(b"\n"), left - len(piece)
        where = f"{where}, line {line}"
    return DataError(
        tr(
            f"neither UTF-8 nor GB18030: byte {offset} does not fit {encoding}",
            f"既不是 UTF-8 也不是 GB18030：第 {offset} 字节不符合 {encoding}",
        )
        if encoding == "gb18030"
        else tr(
            f"begins as {encoding}, but byte {offset} does not fit it",
            f"文件以 {encoding} 开头，但第 {offset} 字节不符",
        ),
        where=where,
        expected=tr("CSV or TSV in UTF-8 or GB18030", "UTF-8 或 GB18030 编码的 CSV / TSV"),
        do=tr("export it again in UTF-8", "请以 UTF-8 重新导出"),
    )
