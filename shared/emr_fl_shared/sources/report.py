"""What a source held: counts for everybody, rows that were left out for the hospital's own eyes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from emr_fl_shared.messages import tr

# Why a row was left out. The keys are stable; reports translate them.
REPEATED_HEADER = "repeated_header"
EMPTY_ROW = "empty_row"
TOO_MANY_CELLS = "too_many_cells"
NO_TEXT = "no_text"
NO_LABEL = "no_label"
ABOVE_HEADER = "above_header"
BROKEN_LINE = "broken_line"
CELL_TOO_LONG = "cell_too_long"

# What was wrong with rows or cells that were kept.
TOO_FEW_CELLS = "too_few_cells"
MERGED_CELLS = "merged_cells"
FORMULA_WITHOUT_VALUE = "formula_without_value"
ERROR_VALUE = "error_value"
DIGITS_LOST = "digits_lost"
NULL_CHARACTERS = "null_characters"
ENTITIES = "entities"
BINARY_VALUE = "binary_value"


@dataclass(slots=True)
class SourceReport:
    """What was read: counts only, nothing of what the rows hold.

    `rows` counts every row but the header; `rows == kept + sum(skipped.values())`. `repaired` counts what was kept
    although something was wrong with it: rows (`too_few_cells`: missing cells at the end were read as empty;
    `merged_cells`: filled from the cell above; `null_characters`: taken out) and cells (`formula_without_value`,
    `error_value`, `binary_value`: read as empty; `digits_lost`: numbers of more digits than a spreadsheet keeps).
    `format`: `csv`, `xlsx`, `xls`, `jsonl`, `parquet` or `sql`; `encoding` and `delimiter` are those of text files.
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
    format: str = "csv"

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "file": self.file,
            "format": self.format,
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
        BROKEN_LINE: tr("line that is no JSON object", "不是 JSON 对象的行"),
        CELL_TOO_LONG: tr("a cell longer than 131,072 characters", "单元格超过 131,072 个字符"),
        TOO_FEW_CELLS: tr("cells missing at the end", "末尾缺少单元格"),
        MERGED_CELLS: tr("filled from merged cells", "由合并单元格补全"),
        FORMULA_WITHOUT_VALUE: tr(
            "formulas without a saved value, read as empty", "公式没有保存结果，按空处理"
        ),
        ERROR_VALUE: tr("error values such as #N/A, read as empty", "错误值（如 #N/A），按空处理"),
        DIGITS_LOST: tr(
            "numbers of more than 15 digits, whose last digits are lost", "超过 15 位的数字，末尾数位已丢失"
        ),
        NULL_CHARACTERS: tr("null characters taken out", "已去除空字符"),
        ENTITIES: tr("characters written as HTML entities (&amp;)", "以 HTML 实体（&amp;）书写的字符"),
        BINARY_VALUE: tr("binary values, read as empty", "二进制值，按空处理"),
    }.get(reason, reason)
