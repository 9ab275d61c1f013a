"""The XML of a workbook's parts, read in pieces with expat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import IO
from xml.parsers import expat

from emr_fl_shared.sources.report import ERROR_VALUE, FORMULA_WITHOUT_VALUE
from emr_fl_shared.sources.spreadsheet import GENERAL, NumberFormat, Numbers

_PIECE = 1 << 16
_LONGEST = 131_072 + 1
"""Characters of a cell that are kept: enough to see that it is too long."""
WIDEST = 2048
"""Columns; what stands further to the right is read as one cell more."""
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def column_number(letters: str) -> int:
    """`A` → 0, `AA` → 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def elements(stream: IO[bytes], ends: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """Name (without prefix) and attributes of each element as it begins; of those in `ends` also `/name` as it ends."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = _parser()
    parser.StartElementHandler = lambda name, attributes: found.append((_local(name), attributes))
    if ends:
        parser.EndElementHandler = lambda name: (
            found.append(("/" + _local(name), {})) if _local(name) in ends else None
        )
    for _ in _feed(parser, stream):
        yield from found
        found.clear()


def shared_strings(stream: IO[bytes]) -> list[str]:
    """The workbook's table of texts."""
    strings: list[str] = []
    text: list[str] = []
    reading = phonetic = False

    def start(name: str, _: dict[str, str]) -> None:
        nonlocal reading, phonetic
        name = _local(name)
        if name == "si":
            text.clear()
        elif name == "rPh":
            phonetic = True
        elif name == "t":
            reading = not phonetic

    def end(name: str) -> None:
        nonlocal reading, phonetic
        name = _local(name)
        if name == "si":
            strings.append(_unescape("".join(text)[:_LONGEST]))
        elif name == "rPh":
            phonetic = False
        elif name == "t":
            reading = False

    parser = _parser()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda data: text.append(data) if reading else None
    for _ in _feed(parser, stream):
        pass
    return strings


class SheetParser:
    """Rows of a sheet. `strings`: the workbook's texts; `formats`: the number format of each cell style."""

    def __init__(self, strings: Sequence[str], formats: Sequence[NumberFormat], numbers: Numbers) -> None:
        self._strings, self._formats, self._numbers = strings, formats, numbers
        self._ready: list[tuple[int, dict[int, str]]] = []
        self._row, self._cells = 0, dict[int, str]()
        self._column = -1
        self._columns: dict[str, int] = {}
        self._type, self._style = "n", 0
        self._value: str | None = None
        self._text: list[str] | None = None
        self._length = 0
        self._formula = self._phonetic = self._in_cell = False

    def rows(self, stream: IO[bytes]) -> Iterator[tuple[int, dict[int, str]]]:
        """Number and cells (by column, from 0) of each row. Raises ValueError, IndexError or ExpatError if it is damaged."""
        parser = _parser()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        for _ in _feed(parser, stream):
            yield from self._ready
            self._ready.clear()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = _local(name)
        if name == "c":
            self._in_cell = True
            self._value, self._formula = None, False
            self._type = attributes.get("t", "n")
            self._style = int(attributes.get("s", 0))
            place = attributes.get("r")
            self._column = self._column + 1 if place is None else self._column_of(place)
        elif name in ("v", "t"):
            if self._in_cell and not self._phonetic:
                self._text, self._length = [], 0
        elif name == "f":
            self._formula = True
        elif name == "rPh":
            self._phonetic = True
        elif name == "row":
            row = int(attributes.get("r", self._row + 1))
            if row <= self._row:
                raise ValueError("rows out of order")
            self._row, self._cells, self._column = row, {}, -1

    def _characters(self, data: str) -> None:
        if self._text is not None and self._length < _LONGEST:
            self._text.append(data)
            self._length += len(data)

    def _end(self, name: str) -> None:
        name = _local(name)
        if name in ("v", "t"):
            if self._text is not None:
                self._value = (self._value or "") + "".join(self._text)
                self._text = None
        elif name == "c":
            self._in_cell = False
            if self._value is not None:
                self._cells[min(self._column, WIDEST)] = self._shown(self._value)
            elif self._formula:
                self._numbers.repaired[FORMULA_WITHOUT_VALUE] += 1
        elif name == "rPh":
            self._phonetic = False
        elif name == "row" and self._cells:
            self._ready.append((self._row, self._cells))
            self._cells = {}

    def _column_of(self, place: str) -> int:
        letters = place.rstrip("0123456789")
        if letters not in self._columns:
            if not (letters.isascii() and letters.isalpha() and letters.isupper() and len(letters) <= 3):
                raise ValueError("no place of a cell")
            self._columns[letters] = column_number(letters)
        return self._columns[letters]

    def _shown(self, value: str) -> str:
        kind = self._type
        if kind == "s":
            index = int(value)
            if index < 0:
                raise IndexError("no such text")
            return self._strings[index]
        if kind in ("str", "inlineStr"):
            return _unescape(value[:_LONGEST])
        if kind == "b":
            return "TRUE" if value.strip() == "1" else "FALSE"
        if kind == "e":
            self._numbers.repaired[ERROR_VALUE] += 1
            return ""
        if kind == "d":
            return value.removesuffix("T00:00:00").replace("T", " ")
        if not value.strip():
            return ""
        style = self._formats[self._style] if 0 <= self._style < len(self._formats) else GENERAL
        return self._numbers.text(value.strip(), style, self._column)


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_: object) -> None:
    """No workbook has one; it is how XML is made to grow without end."""
    raise ValueError("document type declaration")


def _feed(parser: expat.XMLParserType, stream: IO[bytes]) -> Iterator[None]:
    while piece := stream.read(_PIECE):
        parser.Parse(piece, False)
        yield
    parser.Parse(b"", True)
    yield


def _local(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else name


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text
