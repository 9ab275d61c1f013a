"""Rows that can't be used, written for the hospital's own eyes to a folder that the user named."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from emr_fl_shared.durable import storage_error, write_durably
from emr_fl_shared.errors import DataError, UsageError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources import AnySource, Rejected, as_source, describe_reason, read_headers, short_name

BOM = b"\xef\xbb\xbf"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Quarantine:
    """Collects rejected rows by file and writes one CSV a file, or nothing."""

    def __init__(self, folder: Path, files: Sequence[AnySource]) -> None:
        """Raises `UsageError` if a file to write is there already, two exports have one name, or `folder` is a file."""
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                tr("this is not a folder", "这不是文件夹"), where="--quarantine", got=str(folder)
            )
        self._folder = folder
        self._targets = {file: folder / f"{short_name(file)}.quarantine.csv" for file in files}
        self._rows: dict[AnySource, list[Rejected]] = {}
        for file, target in self._targets.items():
            if list(self._targets.values()).count(target) > 1:
                raise UsageError(
                    tr("two exports have the same name", "两个导出文件同名"),
                    where="--quarantine",
                    got=short_name(file),
                    do=tr("check them one at a time", "请分别检查"),
                )
            refuse_existing(
                target,
                where="--quarantine",
                do=tr("name another folder, or delete it", "请另选目录，或先删除该文件"),
            )

    def add(self, file: AnySource, row: Rejected) -> None:
        """Keep a row that was left out of `file`."""
        self._rows.setdefault(file, []).append(row)

    def write(self) -> Mapping[AnySource, tuple[Path, int]]:
        """Write what was collected, readable by the owner only; returns file -> (where, rows).

        UTF-8 with a byte-order mark, so that spreadsheets read it; a cell that one would take for a formula begins with an
        apostrophe. Raises `StorageError`; a file is complete or not there.
        """
        written = {}
        if self._rows:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise storage_error(error, self._folder) from None
        for file, rows in self._rows.items():
            target = self._targets[file]
            write_durably(target, _encoded(_headers(file, rows), rows))
            written[file] = (target, len(rows))
        return written


def refuse_existing(target: Path, *, where: str, do: str) -> None:
    """Raises `UsageError` if something is at `target`; `where`: the option that named it, `do`: what helps."""
    if target.exists() or target.is_symlink():
        raise UsageError(
            tr("this file is there already", "该文件已存在"), where=where, got=str(target), do=do
        )


def _headers(file: AnySource, rows: Sequence[Rejected]) -> list[str]:
    """The export's headers, then numbers for cells beyond them."""
    width = max(len(row.cells) for row in rows)
    source = as_source(file)
    headers: list[str] = []
    if source.is_database or source.path.is_file():  # a pipe can't be opened again
        with suppress(DataError):
            headers = list(read_headers(source))
    return headers + [str(number) for number in range(len(headers) + 1, width + 1)]


def _encoded(headers: Sequence[str], rows: Sequence[Rejected]) -> Iterator[bytes]:
    yield BOM
    yield csv_line([tr("row", "行号"), tr("reason", "原因"), *headers])
    for row in rows:
        yield csv_line([str(row.row), describe_reason(row.reason), *row.cells])


def csv_line(cells: Sequence[str]) -> bytes:
    """A line of CSV that no spreadsheet takes for a formula or splits in a cell."""
    buffer = io.StringIO(newline="")
    # Everything is quoted: a spreadsheet that expects semicolons must not split a cell at one.
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow(
        [
            "'" + cell if cell.lstrip().startswith(_FORMULA) or cell.startswith(_FORMULA) else cell
            for cell in cells
        ]
    )
    return buffer.getvalue().encode("utf-8", "replace")
