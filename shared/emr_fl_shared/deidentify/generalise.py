"""Broader values in place of identifiers, chosen by the site: dates, ages, beds and visit numbers (GB/T 37964-2019, annex A).

=============  =======================================================================================================
dates          `placeholder` [DATE] · `quarter` 2024年第1季度 · `days` 就诊前3天 (from the visit) · `shift` [DATE:2023-11-02]
ages           `keep` · `band`: 0-14, 15-44, 45-59, 60-74, 75-89, 90+
ages ≥ 90      `placeholder` [AGE90] · `band` 90岁以上
beds, visits   `placeholder` · `department`: the specialty of the row's own department, where it is a known one
=============  =======================================================================================================

`shift` moves all dates of a patient by the same 1 to 364 days into the past, drawn by HMAC-SHA256 with the site's key from the
patient's number: intervals within a patient's records stay, and nobody without the key can undo it. A date that
can't be read whole (3月5日) takes the year that brings it closest before the visit (up to 30 days after it counts as before).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Literal

from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.operators import Operator, band, placeholder, quarter, year_and_quarter
from emr_fl_shared.deidentify.wordlists import words
from emr_fl_shared.records import Record

DateOperator = Literal["placeholder", "quarter", "days", "shift"]
AgeOperator = Literal["keep", "band"]
OldAgeOperator = Literal["placeholder", "band"]
PlaceOperator = Literal["placeholder", "department"]

LONGEST_SHIFT = 364
AGE_BANDS = ((0, 14), (15, 44), (45, 59), (60, 74), (75, 89))
_BAND = re.compile(r"(?:\d{1,2}-\d{2}|90\+)")
_QUARTER = re.compile(r"\d{4}-Q[1-4]")
_NUMBER = re.compile(r"(?<!\d)\d{1,3}(?!\d)")
_OLDEST = 125
_FULL = re.compile(r"((?:19|20)?\d{2})[年\-/.]\s?(\d{1,2})[月\-/.]\s?(\d{1,2})[日号]?(?:[ T].*)?")
_COMPACT = re.compile(r"((?:19|20)\d{2})(\d{2})(\d{2})(?:\d{4}|\d{6})?")
_MONTH = re.compile(r"((?:19|20)\d{2})[年\-/.]\s?(\d{1,2})(?:月份?)?")
_DAY = re.compile(r"(\d{1,2})月\s?(\d{1,2})[日号]?")
_AFTER_VISIT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Day:
    """A day, or the middle of a month where the day is not said."""

    day: date
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Generalisation:
    """What takes the place of each kind; the defaults are what training reads. See the module's docstring."""

    dates: DateOperator = "placeholder"
    ages: AgeOperator = "keep"
    old_ages: OldAgeOperator = "placeholder"
    beds: PlaceOperator = "placeholder"
    visits: PlaceOperator = "placeholder"

    def operators(self, record: Record, key: bytes) -> dict[str, Operator]:
        """The operators for the texts of `record`; `key` keys the shift."""
        chosen: dict[str, Operator] = {}
        if self.dates == "quarter":
            chosen["DATE"] = quarter
        elif self.dates != "placeholder":
            visit = read_day(record.visit_date)
            anchor = visit.day if visit else None
            move = patient_shift(key, record)

            def moved(kind: str, value: str) -> str:
                return _shifted(kind, value, anchor, move)

            def counted(kind: str, value: str) -> str:
                return _days(kind, value, anchor)

            chosen["DATE"] = moved if self.dates == "shift" else counted
        if self.old_ages == "band":
            chosen["AGE90"] = band
        specialty = known_specialty(record.department)
        if specialty:

            def to_department(kind: str, value: str) -> str:
                return specialty

            if self.beds == "department":
                chosen["BED_NUM"] = to_department
            if self.visits == "department":
                chosen["VISIT_NUM"] = to_department
        return chosen

    def visit_date(self, record: Record, key: bytes) -> str:
        """The date of the visit: shifted (`2023-11-02`), else its quarter (`2024-Q1`); empty if it can't be read."""
        if self.dates == "shift":
            visit = read_day(record.visit_date)
            return (visit.day - patient_shift(key, record)).isoformat() if visit and visit.whole else ""
        return quarter_of(record.visit_date)

    def age(self, age: str) -> str:
        """The age: as it is below 90 or its band, `90+` from 90."""
        if _BAND.fullmatch(age.strip()):
            return age.strip()
        return age_band(age) if self.ages == "band" else old_as_one(age)


def quarter_of(value: str) -> str:
    """`2024-03-05` → `2024-Q1`; empty if there is no year and month in it."""
    if _QUARTER.fullmatch(value.strip()):
        return value.strip()
    when = year_and_quarter(value)
    return f"{when[0]}-Q{when[1]}" if when else ""


def age_band(age: str) -> str:
    """The band of an age (`0-14` … `75-89`, `90+`); ages in months, weeks or days are `0-14`; empty without a number."""
    years = _years(age)
    if years is None:
        return ""
    return next((f"{low}-{high}" for low, high in AGE_BANDS if low <= years <= high), "90+")


def old_as_one(age: str) -> str:
    """The age as it is, `90+` from 90 years; empty without a number that can be an age."""
    years = _years(age)
    if years is None:
        return ""
    return "90+" if years >= 90 else age


def _years(age: str) -> int | None:
    """Whole years; 0 for an age in months, weeks or days; `None` without a number that can be an age."""
    found = _NUMBER.search(fold(age))
    if not found:
        return None
    if _young(age):
        return 0
    return int(found.group()) if int(found.group()) <= _OLDEST else None


def patient_shift(key: bytes, record: Record) -> timedelta:
    """How far the patient's dates move: 1 to `LONGEST_SHIFT` days; a record without a patient is its own patient.

    Raises `ValueError` for an empty key.
    """
    if not key:
        raise ValueError("a shift needs a key")
    whose = (
        f"patient\x1f{record.patient_id.strip()}"
        if record.patient_id.strip()
        else f"record\x1f{record.record_id}"
    )
    drawn = int.from_bytes(hmac.digest(key, f"shift\x1f{whose}".encode(), hashlib.sha256)[:8], "big")
    return timedelta(days=1 + drawn % LONGEST_SHIFT)


def read_day(value: str, visit: date | None = None) -> Day | None:
    """A date as people and exports write it; one without a year is taken next to `visit`. `None` if it is none."""
    text = fold(value).strip().lstrip("'").replace(" 年", "年").replace(" 月", "月")
    match = _FULL.fullmatch(text) or _COMPACT.fullmatch(text)
    try:
        if match:
            year, month, day = (int(part) for part in match.groups())
            return Day(date(year if year > 99 else 2000 + year, month, day))
        if match := _MONTH.fullmatch(text):
            return Day(date(int(match.group(1)), int(match.group(2)), 15), whole=False)
        if visit is not None and (match := _DAY.fullmatch(text)):
            month, day = int(match.group(1)), int(match.group(2))
            found = date(visit.year + 1, month, day)
            while found > visit + _AFTER_VISIT:
                found = date(found.year - 1, month, day)
            return Day(found)
    except ValueError:
        pass
    return None


@cache
def known_specialty(department: str) -> str:
    """The specialty of a department's name (心内科二病区 → 心内科), if it is a known one; else empty."""
    text = fold(department)
    return next((word for word in words("departments.txt") if word in text), "")


def _shifted(kind: str, value: str, visit: date | None, move: timedelta) -> str:
    found = read_day(value, visit)
    if found is None:
        return placeholder(kind, value)
    moved = found.day - move
    return f"[{kind}:{moved.isoformat()}]" if found.whole else f"[{kind}:{moved:%Y-%m}]"


def _days(kind: str, value: str, visit: date | None) -> str:
    found = read_day(value, visit) if visit else None
    if found is None or visit is None:
        return placeholder(kind, value)
    days = (found.day - visit).days
    side = "前" if days < 0 else "后"
    if not found.whole:
        months = round(abs(days) / 30.44)
        return f"就诊{side}约{months}个月" if months else "就诊当月"
    return f"就诊{side}{abs(days)}天" if days else "就诊当日"


def _young(age: str) -> bool:
    """An age given in months, weeks or days only."""
    return "岁" not in age and any(unit in age for unit in ("月", "天", "日", "周", "小时"))
