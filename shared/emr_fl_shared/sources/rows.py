"""Rows to records: what every kind of source has in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from emr_fl_shared.errors import DataError
from emr_fl_shared.labels import split_terms
from emr_fl_shared.messages import tr
from emr_fl_shared.records import TEXT_FIELDS, Record
from emr_fl_shared.sources.headers import Columns
from emr_fl_shared.sources.report import (
    CELL_TOO_LONG,
    EMPTY_ROW,
    ENTITIES,
    NO_LABEL,
    NO_TEXT,
    NULL_CHARACTERS,
    REPEATED_HEADER,
    TOO_FEW_CELLS,
    TOO_MANY_CELLS,
    Rejected,
    SourceReport,
    describe_reason,
)
from emr_fl_shared.sources.tabular import Row, Table
from emr_fl_shared.sources.values import LIST
from emr_fl_shared.text.entities import without_entities

LONGEST_CELL = 131_072
"""Characters. A longer cell is no note of one visit."""

_LABEL_SEPARATORS = re.compile(r"[;；|｜、\r\n]+")
_CODE_SEPARATORS = re.compile(r"[;；|｜、,，\s]+")
_PLAIN_FIELDS = ("record_id", "patient_id", "visit_date", "department", "sex", "age", "diagnosis_text")


def records_of(
    table: Table,
    columns: Columns,
    report: SourceReport,
    *,
    require_labels: bool,
    rejected: Callable[[Rejected], None],
) -> Iterator[Record]:
    """The records of the rows, in their order; `report` is complete when the last one was taken.

    Raises `DataError` at the end if there was no row, or none that can be used.
    """
    width = len(table.header)
    header = [cell.strip() for cell in table.header]
    text_at = [(name, columns.fields[name]) for name in TEXT_FIELDS if name in columns.fields]
    plain_at = [(name, columns.fields[name]) for name in _PLAIN_FIELDS if name in columns.fields]
    codes_at = columns.fields.get("diagnosis_codes")
    labels_at = columns.fields.get("labels")
    free_text_labels = labels_at is None and codes_at is None

    def leave_out(row: Row, reason: str) -> None:
        report.skipped[reason] += 1
        rejected(Rejected(row.number, reason, tuple(_shown(cell) for cell in row.cells)))

    for row, is_last in _with_last(table.rows):
        if row.reason:
            report.rows += 1
            leave_out(row, row.reason)
            continue
        if not any(cell.strip() for cell in row.cells):
            # Line breaks at the end of a file are no rows.
            if row.cells or not is_last:
                report.rows += 1
                leave_out(row, EMPTY_ROW)
            continue
        report.rows += 1
        if _is_header(row.cells, header):
            leave_out(row, REPEATED_HEADER)
            continue
        if len(row.cells) > width and any(cell.strip() for cell in row.cells[width:]):
            leave_out(row, TOO_MANY_CELLS)
            continue
        if max(map(len, row.cells)) > LONGEST_CELL:
            leave_out(row, CELL_TOO_LONG)
            continue
        cells = [cell.strip() for cell in row.cells[:width]]
        has_null = any("\x00" in cell for cell in cells)
        if has_null:
            cells = [cell.replace("\x00", "").strip() for cell in cells]
        plain = [without_entities(cell).strip() for cell in cells]
        has_entities, cells = plain != cells, plain
        short = len(cells) < width
        if short:
            cells += [""] * (width - len(cells))
        texts = {name: _shown(cells[index]) for name, index in text_at}
        if not any(texts.values()):
            leave_out(row, NO_TEXT)
            continue
        values = {name: _shown(cells[index]) for name, index in plain_at}
        codes = _split(cells[codes_at], _CODE_SEPARATORS) if codes_at is not None else ()
        labels = _split(cells[labels_at], _LABEL_SEPARATORS) if labels_at is not None else ()
        if free_text_labels and "diagnosis_text" in columns.fields:
            # a number in front of a diagnosis (1、高血压) must not be read as a label's id
            parts = cells[columns.fields["diagnosis_text"]].split(LIST)
            labels = tuple(dict.fromkeys(term for part in parts for term in split_terms(part)))
        written = labels_at is None and bool(values.get("diagnosis_text"))
        if require_labels and not (codes or labels or written):
            leave_out(row, NO_LABEL)
            continue
        if short and report.format == "csv":  # a workbook does not store empty cells
            report.repaired[TOO_FEW_CELLS] += 1
        if has_null:
            report.repaired[NULL_CHARACTERS] += 1
        if has_entities:
            report.repaired[ENTITIES] += 1
        values["record_id"] = values.get("record_id") or str(row.number)
        identifiers = {
            name: _shown(cells[index]) for name, index in columns.identifiers.items() if cells[index]
        }
        report.kept += 1
        yield Record(**values, **texts, diagnosis_codes=codes, labels=labels, identifiers=identifiers)
    _finish(table, columns, report)


def _finish(table: Table, columns: Columns, report: SourceReport) -> None:
    report.repaired.update(table.repaired)
    report.skipped = +report.skipped
    _refuse_lost_digits(table, columns)
    if report.kept:
        return
    if not report.rows - report.skipped[EMPTY_ROW] - table.above_header:
        raise DataError(
            tr("there is a header and no row below it", "只有列名行，没有数据"),
            where=table.where,
            expected=tr("at least one row", "至少一行数据"),
        )
    reasons = ", ".join(f"{describe_reason(name)}: {count}" for name, count in sorted(report.skipped.items()))
    raise DataError(
        tr(f"none of {report.rows} rows can be used", f"{report.rows} 行中没有一行可用"),
        where=table.where,
        got=reasons,
        do=tr("check the columns and the export", "请检查列的对应关系和导出内容"),
    )


def _refuse_lost_digits(table: Table, columns: Columns) -> None:
    """Two patients whose numbers differ in a lost digit would become one."""
    for name in ("patient_id", "record_id"):
        at = columns.fields.get(name)
        if at is not None and table.lost_digits[at]:
            count = table.lost_digits[at]
            raise DataError(
                tr(
                    f"column {name} holds numbers of more than 15 digits, whose last ones a spreadsheet loses: {count}",
                    f"{name} 列含有超过 15 位的数字，电子表格会丢失其末尾数位：{count} 个",
                ),
                where=f"{table.where}, {table.header[at]}",
                expected=tr("numbers stored as text", "以文本形式保存的编号"),
                do=tr(
                    "export the column as text, or the table as CSV", "请将该列导出为文本，或将表格导出为 CSV"
                ),
            )


def _with_last(rows: Iterator[Row]) -> Iterator[tuple[Row, bool]]:
    """Each row with whether it is the last one."""
    before = next(rows, None)
    if before is None:
        return
    for row in rows:
        yield before, False
        before = row
    yield before, True


def _is_header(row: Sequence[str], header: Sequence[str]) -> bool:
    """A page break of the export: at least 80 % of the filled cells repeat the header above them."""
    filled = [(cell.strip(), index) for index, cell in enumerate(row) if cell.strip()]
    same = sum(1 for cell, index in filled if index < len(header) and cell == header[index])
    return len(filled) >= min(2, len(header)) and same * 10 >= len(filled) * 8


def _shown(cell: str) -> str:
    """A cell as it is read: a list as its values with semicolons."""
    return cell.rstrip(LIST).replace(LIST, "；") if LIST in cell else cell


def _split(cell: str, separators: re.Pattern[str]) -> tuple[str, ...]:
    """The values of a cell, in order, each once."""
    if not cell:
        return ()
    parts = cell.split(LIST) if LIST in cell else separators.split(cell)
    return tuple(dict.fromkeys(part for part in (part.strip() for part in parts) if part))
