"""Single values that can't be: dates, ages, sexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date

from emr_fl_shared.quality.cell_values import OLDEST_VISIT, is_serial, read_age, read_date, read_sex
from emr_fl_shared.quality.finding import RECORDS, Finding, Unit, Wording, defect
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import Record

_DATES = Unit("dates", "个", "日期")
_OLDEST_BIRTH = 1880
_OLDEST_AGE = 120

_FINDINGS: tuple[tuple[str, str, Unit, Wording, Wording], ...] = (
    (
        "date_impossible",
        "dates",
        _DATES,
        Wording("impossible dates", "不可能的日期"),
        Wording("write them as 2024-03-05", "请写成 2024-03-05 的形式"),
    ),
    (
        "date_future",
        "dates",
        _DATES,
        Wording("dates in the future", "未来的日期"),
        Wording("a typing error, or this computer's clock is wrong", "录入错误，或本机时钟有误"),
    ),
    (
        "date_serial",
        "dates",
        _DATES,
        Wording("days as a spreadsheet's numbers", "电子表格序列号形式的日期"),
        Wording("format the column as a date before the export", "请先将该列设为日期格式再导出"),
    ),
    (
        "birth_after_visit",
        "birth_date",
        _DATES,
        Wording("births after the visit", "出生日期晚于就诊日期"),
        Wording("see whether the two columns were exchanged", "请检查两列是否颠倒"),
    ),
    (
        "age_unreadable",
        "age",
        RECORDS,
        Wording("ages that are no number", "无法识别的年龄"),
        Wording("write 59, 59岁 or 3月", "请写成 59、59岁 或 3月"),
    ),
    (
        "age_impossible",
        "age",
        RECORDS,
        Wording("ages below 0 or above 120", "小于 0 或大于 120 的年龄"),
        Wording("a year of birth in the column of the age?", "年龄列中是否填了出生年份？"),
    ),
    (
        "sex_unreadable",
        "sex",
        RECORDS,
        Wording("sexes that are not understood", "无法识别的性别"),
        Wording("write 男 / 女, M / F or 1 / 2", "请写成 男 / 女、M / F 或 1 / 2"),
    ),
)
"""Kind, what it is a share of, its unit, subject and remedy."""


@register
class Values:
    """Dates of the visit and of birth, ages and sexes, each looked at by itself."""

    name = "values"

    def __init__(self, export: Export) -> None:
        self._export = export
        self._bad: dict[str, Counter[str]] = {}
        self._filled: Counter[str] = Counter()

    def see(self, record: Record) -> None:
        visit = self._date("visit_date", record.visit_date, OLDEST_VISIT)
        birth = self._date("birth_date", record.identifiers.get("birth_date", ""), _OLDEST_BIRTH)
        if visit and birth and birth > visit:
            self._note("birth_after_visit", "birth_date")
        if record.age:
            self._filled["age"] += 1
            age = read_age(record.age)
            if age is None:
                self._note("age_unreadable", "age")
            elif not 0 <= age <= _OLDEST_AGE:
                self._note("age_impossible", "age")
        if record.sex:
            self._filled["sex"] += 1
            if read_sex(record.sex) is None:
                self._note("sex_unreadable", "sex")

    def _date(self, column: str, text: str, oldest: int) -> date | None:
        if not text:
            return None
        self._filled["dates"] += 1
        self._filled[column] += 1
        found = read_date(text)
        if found is None:
            self._note("date_serial" if is_serial(text) else "date_impossible", column)
        elif found > self._export.today:
            self._note("date_future", column)
        elif found.year < oldest:
            self._note("date_impossible", column)
            return None
        return found

    def _note(self, kind: str, column: str) -> None:
        self._bad.setdefault(kind, Counter())[column] += 1

    def findings(self) -> Iterator[Finding]:
        for kind, of, unit, subject, do in _FINDINGS:
            if not self._filled[of]:
                continue  # no such column, or nothing in it
            bad = self._bad.get(kind, Counter())
            yield defect(
                f"values.{kind}", subject, bad.total(), self._filled[of], unit, do, details=dict(bad)
            )
