"""Rows of cells with a header: what every kind of source is turned into, and where the header is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.headers import understood

_HEADER_WITHIN = 10  # a title and notes may stand above the header
_LOOKED_AT = 50


class Row(NamedTuple):
    """One row: its number in the source (from 1), its cells, and why it can't be used, if it can't."""

    number: int
    cells: Sequence[str]
    reason: str = ""


@dataclass(slots=True)
class Table:
    """A header and the rows below it, which can be read once.

    `repaired` counts, while the rows are read, what was wrong with cells that are kept; `lost_digits` counts by column the
    numbers whose last digits are lost.
    """

    where: str
    format: str
    header: tuple[str, ...]
    rows: Iterator[Row]
    above_header: int = 0
    encoding: str = ""
    delimiter: str = ""
    repaired: Counter[str] = field(default_factory=Counter)
    lost_digits: Counter[int] = field(default_factory=Counter)

    def sample(self, count: int = 200) -> list[list[str]]:
        """The first rows, which stay to be read."""
        taken = list(islice(self.rows, count))
        self.rows = chain(taken, self.rows)
        return [list(row.cells) for row in taken]


def below_header(
    rows: Iterator[Row],
    where: str,
    format: str,
    columns: Mapping[str, str] | None,
    *,
    encoding: str = "",
    delimiter: str = "",
) -> Table:
    """The table of `rows` in which the header is still to be found: the row with the most understood headers near the top, the
    first row that is not empty if there is none.

    Raises `DataError` if there is no row that is not empty.
    """
    top = list(islice(rows, _LOOKED_AT))
    filled = [index for index, row in enumerate(top) if any(cell.strip("﻿ \t\r\n\v\f") for cell in row.cells)]
    if not filled:
        for row in rows:
            if any(cell.strip() for cell in row.cells):
                top, filled = [row], [0]
                break
        else:
            raise empty(where)
    at = _header_row([row.cells for row in top], filled[:_HEADER_WITHIN], columns)
    header = tuple(cell.strip().strip("﻿") for cell in top[at].cells)
    while header and not header[-1]:
        header = header[:-1]
    above = sum(1 for row in top[:at] if any(cell.strip() for cell in row.cells))
    return Table(where, format, header, chain(top[at + 1 :], rows), above, encoding, delimiter)


def most_understood(rows: Iterable[Sequence[str]], columns: Mapping[str, str] | None) -> int:
    """How many headers of the best row are understood."""
    return max((understood(row, columns) for row in rows), default=0)


def empty(where: str) -> DataError:
    """The error of a source without any row."""
    return DataError(
        tr("the file is empty", "文件是空的"),
        where=where,
        expected=tr("a header and at least one row", "列名行和至少一行数据"),
    )


def _header_row(
    rows: Sequence[Sequence[str]], filled: Sequence[int], columns: Mapping[str, str] | None
) -> int:
    best = max(filled, key=lambda index: (understood(rows[index], columns), -index))
    return best if understood(rows[best], columns) >= 2 else filled[0]
