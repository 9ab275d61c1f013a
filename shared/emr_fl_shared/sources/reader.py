"""`read_records`: a hospital's CSV or TSV export to records, and a report of what could not be used.

Example::

    records, report = read_records(Path("export.csv"), {"chief_complaint": "ZS"})
    print(report.kept, report.skipped)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.records import TEXT_FIELDS, Record
from emr_fl_shared.sources.encoding import decode
from emr_fl_shared.sources.headers import Columns, require, resolve
from emr_fl_shared.sources.tabular import Table, parse_table

_LABEL_SEPARATORS = re.compile(r"[;；|｜、\r\n]+")
_CODE_SEPARATORS = re.compile(r"[;；|｜、,，\s]+")

# Why a row was left out. The keys are stable; reports translate them.
REPEATED_HEADER = "repeated_header"
EMPTY_ROW = "empty_row"
TOO_MANY_CELLS = "too_many_cells"
NO_TEXT = "no_text"
NO_LABEL = "no_label"
ABOVE_HEADER = "above_header"


@dataclass(slots=True)
class SourceReport:
    """What was read: counts only, nothing of what the rows hold.

    `rows` counts every row but the header; `rows == kept + sum(skipped.values())`. `repaired` counts rows that were
    kept although something was wrong with them (`too_few_cells`: missing cells at the end were read as empty).
    """

    file: str
    encoding: str = ""
    delimiter: str = ""
    rows: int = 0
    kept: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)
    identifier_columns: dict[str, str] = field(default_factory=dict)
    ignored_columns: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "file": self.file,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "rows": self.rows,
            "kept": self.kept,
            "skipped": dict(sorted(self.skipped.items())),
            "repaired": dict(sorted(self.repaired.items())),
            "columns": self.columns,
            "identifier_columns": self.identifier_columns,
            "ignored_columns": list(self.ignored_columns),
        }


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was left out: its number in the file (the first line is 1), why, and its cells as they stand there.

    For the hospital's own eyes: `cells` holds what the patient's record holds.
    """

    row: int
    reason: str
    cells: tuple[str, ...] = field(repr=False)


def describe_reason(reason: str) -> str:
    """A reason of `SourceReport.skipped` or `.repaired` in the user's language."""
    return {
        REPEATED_HEADER: tr("the header again", "重复的列名行"),
        EMPTY_ROW: tr("empty row", "空行"),
        TOO_MANY_CELLS: tr("more cells than the header", "单元格多于列名"),
        NO_TEXT: tr("no text", "没有文本"),
        NO_LABEL: tr("no label", "没有标签"),
        ABOVE_HEADER: tr("title above the header", "列名行之上的标题"),
        "too_few_cells": tr("cells missing at the end", "末尾缺少单元格"),
    }.get(reason, reason)


def read_records(
    path: Path,
    columns: Mapping[str, str] | None = None,
    *,
    require_labels: bool = True,
    rejected: Callable[[Rejected], None] | None = None,
) -> tuple[list[Record], SourceReport]:
    """Read a CSV or TSV export.

    `columns` maps fields to headers (`{"chief_complaint": "ZS"}`) where the header is not understood by itself.
    With `require_labels` a file without a label column is refused and rows without a label are left out.
    `rejected` is called with every row below the header that is left out.
    A file with free-text diagnoses only gives them as `labels`, to be matched by name and never by guessing.

    Returns records in the order of the file. A record without its own number gets that of its row.
    Raises `DataError`: no such file, empty, binary, mixed encodings, header only, no text column, no label column,
    a mapped column that does not exist, no row left.
    """
    path = Path(path)
    table, encoding = _load(path, columns)
    where = str(path)
    sample = table.rows[:200]
    understood_columns = resolve(table.header, columns, where=where, rows=sample)
    require(understood_columns, table.header, sample, where=where, labels=require_labels)
    report = SourceReport(path.name, encoding, table.delimiter)
    report.columns = {name: table.header[index] for name, index in understood_columns.fields.items()}
    report.identifier_columns = {
        name: table.header[index] for name, index in understood_columns.identifiers.items()
    }
    report.ignored_columns = understood_columns.ignored
    report.skipped[ABOVE_HEADER] += table.above_header
    report.rows += table.above_header
    if not any(any(cell.strip() for cell in row) for row in table.rows):
        raise DataError(
            tr("there is a header and no row below it", "只有列名行，没有数据"),
            where=where,
            expected=tr("at least one row", "至少一行数据"),
        )
    records = _records(table, understood_columns, report, require_labels, rejected or _forget)
    report.skipped = +report.skipped
    if not records:
        reasons = ", ".join(
            f"{describe_reason(name)}: {count}" for name, count in sorted(report.skipped.items())
        )
        raise DataError(
            tr(f"none of {report.rows} rows can be used", f"{report.rows} 行中没有一行可用"),
            where=where,
            got=reasons,
            do=tr("check the columns and the export", "请检查列的对应关系和导出内容"),
        )
    return records, report


def read_headers(path: Path) -> tuple[str, ...]:
    """The headers of an export, as they stand in the file. Raises `DataError` as `read_records` does."""
    table, _ = _load(Path(path), None)
    return table.header


def _load(path: Path, columns: Mapping[str, str] | None) -> tuple[Table, str]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            tr("no such file", "文件不存在"),
            where=str(path),
            do=tr(
                "check the path; it is relative to the settings file", "请检查路径；它相对于设置文件所在目录"
            ),
        ) from None
    except IsADirectoryError:
        raise DataError(
            tr("this is a folder, not a file", "这是文件夹，不是文件"), where=str(path), expected="CSV / TSV"
        ) from None
    except OSError as error:
        raise DataError(
            tr("the file can't be read", "文件无法读取"),
            where=str(path),
            got=error.strerror or type(error).__name__,
        ) from None
    text, encoding = decode(data, path)
    return parse_table(text, path, columns), encoding


def _forget(_: Rejected) -> None:
    """For callers that want the counts only."""


def _records(
    table: Table,
    columns: Columns,
    report: SourceReport,
    require_labels: bool,
    rejected: Callable[[Rejected], None],
) -> list[Record]:
    width = len(table.header)
    header = [cell.strip() for cell in table.header]
    text_at = [(name, columns.fields[name]) for name in TEXT_FIELDS if name in columns.fields]
    plain_at = [
        (name, columns.fields[name])
        for name in ("record_id", "patient_id", "visit_date", "department", "sex", "age", "diagnosis_text")
        if name in columns.fields
    ]
    codes_at = columns.fields.get("diagnosis_codes")
    labels_at = columns.fields.get("labels")
    free_text_labels = labels_at is None and codes_at is None
    records: list[Record] = []

    def leave_out(reason: str) -> None:
        report.skipped[reason] += 1
        rejected(Rejected(number, reason, tuple(row)))

    for number, row in enumerate(table.rows, table.first_row):
        if not any(cell.strip() for cell in row):
            # Line breaks at the end of a file are no rows.
            if row or number < table.first_row + len(table.rows) - 1:
                report.rows += 1
                leave_out(EMPTY_ROW)
            continue
        report.rows += 1
        if _is_header(row, header):
            leave_out(REPEATED_HEADER)
            continue
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            leave_out(TOO_MANY_CELLS)
            continue
        cells = [cell.strip() for cell in row[:width]]
        short = len(cells) < width
        if short:
            cells += [""] * (width - len(cells))
        texts = {name: cells[index] for name, index in text_at}
        if not any(texts.values()):
            leave_out(NO_TEXT)
            continue
        values = {name: cells[index] for name, index in plain_at}
        codes = _split(cells[codes_at], _CODE_SEPARATORS) if codes_at is not None else ()
        labels = _split(cells[labels_at], _LABEL_SEPARATORS) if labels_at is not None else ()
        if free_text_labels:
            labels = _split(values.get("diagnosis_text", ""), _LABEL_SEPARATORS)
        if require_labels and not codes and not labels:
            leave_out(NO_LABEL)
            continue
        if short:
            report.repaired["too_few_cells"] += 1
        values["record_id"] = values.get("record_id") or str(number)
        identifiers = {name: cells[index] for name, index in columns.identifiers.items() if cells[index]}
        records.append(
            Record(**values, **texts, diagnosis_codes=codes, labels=labels, identifiers=identifiers)
        )
    report.kept = len(records)
    return records


def _is_header(row: Sequence[str], header: Sequence[str]) -> bool:
    """A page break of the export: at least 80 % of the filled cells repeat the header above them."""
    filled = [(cell.strip(), index) for index, cell in enumerate(row) if cell.strip()]
    same = sum(1 for cell, index in filled if index < len(header) and cell == header[index])
    return len(filled) >= min(2, len(header)) and same * 10 >= len(filled) * 8


def _split(cell: str, separators: re.Pattern[str]) -> tuple[str, ...]:
    """The values of a cell, in order, each once."""
    if not cell:
        return ()
    return tuple(dict.fromkeys(part for part in (part.strip() for part in separators.split(cell)) if part))
