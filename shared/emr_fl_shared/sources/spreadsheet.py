"""What the two kinds of workbook have in common: the text of a number as the sheet shows it, and the choice of the sheet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.files import RecordFile
from emr_fl_shared.sources.report import DIGITS_LOST, MERGED_CELLS
from emr_fl_shared.sources.tabular import Row, Table, below_header, most_understood
from emr_fl_shared.sources.values import EXACT, float_text, moment_text

_QUOTED = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.|\*.')
_ZEROS = re.compile(r"^0{2,}$")
_BUILT_IN_DATES = frozenset((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)))
_LAST_DAY = 2_958_465  # 9999-12-31
_PEEKED = 50


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a number is shown: as a date or time, or with zeros in front up to `zeros` digits."""

    is_date: bool = False
    zeros: int = 0


GENERAL = NumberFormat()


def number_format(code: str, built_in: int = 0) -> NumberFormat:
    """The format of a code such as `yyyy-mm-dd` or `0000000000`, or of one of Excel's built-in numbers."""
    if built_in in _BUILT_IN_DATES:
        return NumberFormat(is_date=True)
    plain = _QUOTED.sub("", code.split(";")[0])
    if plain.lower() == "general":
        return GENERAL
    if any(char in "ymdhs" for char in plain.lower()):
        return NumberFormat(is_date=True)
    return NumberFormat(zeros=len(plain)) if _ZEROS.match(plain) else GENERAL


@dataclass(slots=True)
class Numbers:
    """Numbers of one sheet to text. `since_1904`: the days of the workbook count from 1904."""

    since_1904: bool = False
    repaired: Counter[str] = field(default_factory=Counter)
    lost_digits: Counter[int] = field(default_factory=Counter)

    def text(self, number: str | float, shown_as: NumberFormat, column: int) -> str:
        """The text of a number in `column`; a date is an ISO date. Raises ValueError if it is no number."""
        value = float(number)
        if shown_as.is_date and 0 <= value <= _LAST_DAY:
            return self._date(value)
        if abs(value) >= EXACT and value not in (float("inf"), float("-inf")):
            self.repaired[DIGITS_LOST] += 1
            self.lost_digits[column] += 1
            digits = str(number)
            return digits if digits.lstrip("-").isdecimal() else format(Decimal(repr(value)), "f")
        text = float_text(value)
        return text.zfill(shown_as.zeros) if shown_as.zeros and text.isdecimal() else text

    def _date(self, days: float) -> str:
        if days < 1 and not self.since_1904:
            return (datetime(2000, 1, 1) + timedelta(seconds=round(days * 86400))).time().isoformat()
        if self.since_1904:
            start = datetime(1904, 1, 1)
        else:  # Excel counts a 29th of February 1900 that never was
            start = datetime(1899, 12, 31) if days < 60 else datetime(1899, 12, 30)
        try:
            return moment_text(start + timedelta(seconds=round(days * 86400)))
        except OverflowError:
            return float_text(days)


@dataclass(slots=True)
class Merged:
    """Cells that were merged downwards: each row below the first gets the value of the first.

    `ranges`: first row → (column, last row). Cells merged to the right are not filled: the value stands once.
    """

    ranges: Mapping[int, Sequence[tuple[int, int]]]
    repaired: Counter[str]
    _active: dict[int, tuple[int, str]] = field(default_factory=dict)

    def fill(self, number: int, cells: dict[int, str]) -> None:
        """Fill the cells of row `number` in place; rows are to be given in their order."""
        filled = False
        for column in [column for column, (last, _) in self._active.items() if last < number]:
            del self._active[column]
        for column, (_, value) in self._active.items():
            if not cells.get(column):
                cells[column] = value
                filled = True
        for column, last in self.ranges.get(number, ()):
            if cells.get(column):
                self._active[column] = (last, cells[column])
        if filled:
            self.repaired[MERGED_CELLS] += 1


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet by name and a way to read its rows from the start."""

    name: str
    hidden: bool
    rows: Callable[[Numbers], Iterator[Row]]


def table_of(
    file: RecordFile,
    format: str,
    sheets: Sequence[Sheet],
    columns: Mapping[str, str] | None,
    *,
    wanted: str,
    since_1904: bool,
) -> Table:
    """The table of the sheet named `wanted`, or of the first one with an understood header (hidden ones last).

    Raises `DataError` if there is no such sheet, or no row in the sheet.
    """
    chosen = _named(file, sheets, wanted) if wanted else _best(sheets, columns, since_1904)
    numbers = Numbers(since_1904)
    table = below_header(chosen.rows(numbers) if chosen else iter(()), str(file.path), format, columns)
    table.repaired, table.lost_digits = numbers.repaired, numbers.lost_digits
    return table


def _named(file: RecordFile, sheets: Sequence[Sheet], wanted: str) -> Sheet:
    for sheet in sheets:
        if sheet.name.strip() == wanted.strip():
            return sheet
    raise DataError(
        tr("the workbook has no such sheet", "工作簿中没有这个工作表"),
        where=f"{file.path}, sheet = {wanted}",
        got=tr(f"{len(sheets)} other sheets", f"另有 {len(sheets)} 个工作表"),
        do=tr("name it as its tab shows it", "请按标签上的名称填写"),
    )


def _best(sheets: Sequence[Sheet], columns: Mapping[str, str] | None, since_1904: bool) -> Sheet | None:
    best, most = None, -1
    for sheet in sorted(sheets, key=lambda sheet: sheet.hidden):
        top = [row.cells for row in islice(sheet.rows(Numbers(since_1904)), _PEEKED)]
        known = most_understood(top, columns) if top else -1
        if known >= 2:
            return sheet
        if known > most:
            best, most = sheet, known
    return best
