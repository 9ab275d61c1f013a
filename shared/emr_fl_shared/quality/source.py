"""The file itself: encoding, columns, rows that could not be used, line breaks, merged cells, empty fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emr_fl_shared.quality.finding import (
    CELLS,
    NOTHING,
    ROWS,
    Finding,
    Level,
    Wording,
    counted,
    defect,
    share,
)
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import TEXT_FIELDS, Record
from emr_fl_shared.sources import SourceReport, describe_reason
from emr_fl_shared.sources.headers import looks_like_header

_DELIMITERS = {
    ",": Wording("comma", "逗号"),
    "\t": Wording("tab", "制表符"),
    ";": Wording("semicolon", "分号"),
    "|": Wording("bar", "竖线"),
}
_REASONS = {
    "repeated_header": Wording("repeated header rows", "重复的列名行"),
    "empty_row": Wording("empty rows", "空行"),
    "too_many_cells": Wording("rows with too many cells", "单元格过多的行"),
    "too_few_cells": Wording("rows with too few cells", "单元格过少的行"),
    "no_text": Wording("rows without a text", "没有文本的行"),
    "no_label": Wording("rows without a label", "没有标签的行"),
    "above_header": Wording("titles above the header", "列名行之上的标题"),
}
_REPAIRED_DO = Wording(
    "kept: the missing cells were read as empty; see whether the export cuts rows off",
    "已保留：缺少的单元格按空值读取；请检查导出是否截断了行",
)
_LEFT_OUT_DO = Wording(
    "left out; --quarantine DIR writes these rows with the reason",
    "已排除；--quarantine DIR 可导出这些行及原因",
)
_MOSTLY_EMPTY = 0.5
_MAY_HAVE_LINES = (*TEXT_FIELDS, "diagnosis_text")
_RUN_COLUMNS = ("visit_date", "department", "sex", "age")


@register
class SourceCheck:
    """What the reader says about the file, and what can be seen of its cells."""

    name = "file"

    def __init__(self, export: Export) -> None:
        self._export = export
        self._line_breaks: Counter[str] = Counter()
        self._empty: Counter[str] = Counter()
        self._merged = MergedCells(export)
        source = export.source
        self._fields = tuple(name for name in source.columns if name != "record_id")
        self._identifiers = tuple(source.identifier_columns)

    def see(self, record: Record) -> None:
        for name in self._fields:
            value = getattr(record, name)
            if not value:
                self._empty[name] += 1
            elif isinstance(value, str) and ("\n" in value or "\r" in value):
                self._line_breaks[name] += 1
        for name in self._identifiers:
            value = record.identifiers.get(name, "")
            if not value:
                self._empty[name] += 1
            elif "\n" in value or "\r" in value:
                self._line_breaks[name] += 1
        self._merged.see(record)

    def findings(self) -> Iterator[Finding]:
        yield self._encoding()
        yield self._columns()
        yield self._patients()
        yield self._rows()
        yield from self._reasons()
        yield self._breaks()
        if self._export.has("patient_id"):
            yield self._merged.finding()
        yield self._empty_fields()

    def _breaks(self) -> Finding:
        """Paragraphs belong to a text; in other columns a line break is a mistake."""
        breaks = self._line_breaks
        cells = self._export.records * (len(self._fields) + len(self._identifiers))
        wrong = any(name not in _MAY_HAVE_LINES for name in breaks)
        return Finding(
            "file.line_breaks",
            Wording("line breaks inside cells", "单元格内换行"),
            "warning" if wrong else "ok",
            breaks.total(),
            counted(breaks.total(), cells, CELLS) if breaks else NOTHING,
            Wording(
                "also outside the texts: see whether cells were joined",
                "正文以外的列也有换行：请检查是否有单元格被合并",
            )
            if wrong
            else Wording(),
            of=cells,
            details=dict(breaks),
        )

    def _encoding(self) -> Finding:
        source = self._export.source
        delimiter = _DELIMITERS.get(source.delimiter, Wording(source.delimiter, source.delimiter))
        name = source.encoding or source.file.rpartition(".")[2]  # a source that has no encoding of its own
        seen = Wording(name, name)
        return Finding(
            "file.encoding",
            Wording("encoding and delimiter", "编码与分隔符"),
            "ok",
            0,
            seen + ", " + delimiter if delimiter else seen,
        )

    def _columns(self) -> Finding:
        source = self._export.source
        known = ", ".join(f"{name} = {header}" for name, header in source.columns.items())
        identifying = ", ".join(f"{name} = {header}" for name, header in source.identifier_columns.items())
        ignored = ", ".join(ignored_headers(source))
        seen = Wording(known, known)
        if identifying:
            seen += Wording("; identifiers: ", "；标识符列：") + identifying
        if ignored:
            seen += Wording("; ignored: ", "；忽略：") + ignored
        count = len({*source.columns.values(), *source.identifier_columns.values()})
        return Finding(
            "file.columns",
            Wording("columns", "列"),
            "ok",
            count,
            seen,
            of=count + len(source.ignored_columns),
        )

    def _patients(self) -> Finding:
        subject = Wording("column of the patient", "患者列")
        if self._export.has("patient_id"):
            return Finding(
                "file.patient_column", subject, "ok", 0, Wording(*[self._export.header("patient_id")] * 2)
            )
        return Finding(
            "file.patient_column",
            subject,
            "warning",
            1,
            Wording("none: each record counts as a patient of its own", "无：每条记录都按一名患者计算"),
            Wording(
                "export a patient number: without it one patient's visits fall into training and validation alike",
                "请导出患者编号：否则同一患者的多次就诊会同时落入训练集与验证集",
            ),
        )

    def _rows(self) -> Finding:
        source = self._export.source
        left_out = source.skipped.total()
        level: Level = "stop" if left_out > source.kept else "warning" if left_out else "ok"
        return Finding(
            "file.rows",
            Wording("rows", "行"),
            level,
            left_out,
            Wording(
                f"{source.rows:,} rows = {source.kept:,} kept + {left_out:,} left out",
                f"{source.rows:,} 行 = 保留 {source.kept:,} + 排除 {left_out:,}",
            ),
            Wording(
                "more rows are left out than kept: is the header right?", "排除的行多于保留的行：请核对列名行"
            )
            if level == "stop"
            else _LEFT_OUT_DO
            if left_out
            else Wording(),
            of=source.rows,
            details={"kept": source.kept, "left_out": left_out},
        )

    def _reasons(self) -> Iterator[Finding]:
        source = self._export.source
        for reason in dict.fromkeys((*_REASONS, *source.skipped, *source.repaired)):
            repaired = source.repaired[reason]
            yield defect(
                f"file.{reason}",
                _REASONS.get(reason) or Wording(describe_reason(reason), describe_reason(reason)),
                source.skipped[reason] + repaired,
                source.rows,
                ROWS,
                _REPAIRED_DO if repaired else _LEFT_OUT_DO,
            )

    def _empty_fields(self) -> Finding:
        total = self._export.records
        names = (*self._fields, *self._identifiers)
        empty = {name: self._empty[name] for name in names}
        high = [self._export.header(name) for name in names if empty[name] > _MOSTLY_EMPTY * total]
        listed = sorted(names, key=lambda name: -empty[name])
        shown = ", ".join(
            f"{self._export.header(name)} {share(empty[name], total)}" for name in listed if empty[name]
        )
        return Finding(
            "file.empty_fields",
            Wording("empty fields", "空字段"),
            "warning" if high else "ok",
            sum(empty.values()),
            Wording(shown, shown) if shown else NOTHING,
            Wording(
                f"mostly empty: {', '.join(high)}; is it the right column?",
                f"多数为空：{'、'.join(high)}；请核对是否为正确的列",
            )
            if high
            else Wording(),
            of=total * len(names),
            details=empty,
        )


def ignored_headers(source: SourceReport) -> list[str]:
    """The headers that are not understood; `…` for one that looks like data."""
    return [header if looks_like_header([header]) else "…" for header in source.ignored_columns]


class MergedCells:
    """Columns that are filled only in the first of a run of rows: cells that were merged in a spreadsheet.

    A run is a row with a patient and the rows that follow it with the same patient or none. A column counts as merged if, in runs
    where its first cell is filled, all others are empty in more than half of them and in at least three; the patient's own column
    counts only beside another one, because a missing number alone also looks like that.
    """

    def __init__(self, export: Export) -> None:
        self._columns = [name for name in _RUN_COLUMNS if name in export.source.columns]
        self._identifiers = [
            name
            for name in export.source.identifier_columns
            if export.source.identifier_columns[name] != export.source.columns.get("patient_id")
        ]
        self._applies = export.has("patient_id")
        self._records = export.records
        self._run: list[tuple[bool, ...]] = []
        self._patient = ""
        self._filled: Counter[str] = Counter()
        self._only_first: Counter[str] = Counter()
        self._cells: Counter[str] = Counter()

    def see(self, record: Record) -> None:
        if not self._applies:
            return
        patient = record.patient_id
        if patient and patient != self._patient:
            self._end()
            self._patient = patient
        self._run.append(
            (
                bool(patient),
                *(bool(getattr(record, name)) for name in self._columns),
                *(bool(record.identifiers.get(name)) for name in self._identifiers),
            )
        )

    def _end(self) -> None:
        run, self._run = self._run, []
        if len(run) < 2 or not run[0][0]:
            return
        for name, cells in zip(
            ("patient_id", *self._columns, *self._identifiers), zip(*run, strict=True), strict=True
        ):
            if cells[0]:
                self._filled[name] += 1
                if not any(cells[1:]):
                    self._only_first[name] += 1
                    self._cells[name] += len(cells) - 1

    def finding(self) -> Finding:
        self._end()
        merged = [
            name for name, count in self._only_first.items() if count >= 3 and count * 2 > self._filled[name]
        ]
        if merged == ["patient_id"]:
            merged = []
        cells = {name: self._cells[name] for name in merged}
        return defect(
            "file.merged_cells",
            Wording("cells that were probably merged", "疑似合并单元格"),
            sum(cells.values()),
            self._records * max(1, len(merged)),
            CELLS,
            Wording(
                "the column is filled only in a patient's first row: unmerge and fill down in the spreadsheet, then export again",
                "该列仅在同一患者的首行有值：请在电子表格中取消合并并向下填充后重新导出",
            ),
            details=cells,
        )
