"""Dates and ages as exports write them."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from emr_fl_shared.deidentify.folding import fold

OLDEST_VISIT = 1980
"""A visit before this year is a mistake: a spreadsheet's zero is in 1900, a computer's in 1970."""
_DATE = re.compile(r"^(\d{4})\s*[-/.年]\s*(\d{1,2})\s*[-/.月]\s*(\d{1,2})\s*日?(?:[T\s].*|\d{1,2}[:时].*)?$")
_COMPACT = re.compile(r"^(\d{4})(\d{2})(\d{2})(?:\d{4}|\d{6})?$")
_MONTH = re.compile(r"^(\d{4})\s*[-/.年]\s*(\d{1,2})\s*月?$|^(\d{4})-Q([1-4])$")
_SERIAL = re.compile(r"^[1-9]\d{4}(?:\.\d+)?$")
_YEARS = re.compile(
    r"^([+-]?\d+(?:\.\d+)?)\s*(?:\+|(?:周?岁|yrs?|years?|y)(?:\s*\d{1,2}\s*(?:个月|月|天|日))*)?$"
)
_YOUNGER = re.compile(
    r"^(?:\d{1,3}(?:\.\d+)?\s*(?:个月|月|周|天|日|小时|时|分钟|m|mo|months?|w|weeks?|d|days?|h|hours?)\s*)+(?:龄)?$"
)


@lru_cache(maxsize=65_536)
def read_date(text: str) -> date | None:
    """The day of `2024-03-05`, `2024/3/5 10:20`, `2024年3月5日`, `20240305`; of `2024-03` and `2024-Q1` the first. `None` if it is
    no day of the calendar."""
    plain = fold(text).strip()
    match = _DATE.match(plain) or _COMPACT.match(plain)
    if match:
        year, month, day = (int(part) for part in match.groups()[:3])
    elif match := _MONTH.match(plain):
        year = int(match.group(1) or match.group(3))
        month, day = int(match.group(2) or 3 * int(match.group(4)) - 2), 1
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def is_serial(text: str) -> bool:
    """Whether this is a spreadsheet's number of a day (`45356`) instead of a date."""
    return bool(_SERIAL.match(fold(text).strip()))


@lru_cache(maxsize=65_536)
def read_age(text: str) -> float | None:
    """The age in years of `59`, `59岁`, `2岁3月`, `90+`; 0 for one in months, weeks, days or hours. `None` if it is no age.

    A negative number is read as it stands, for the caller to refuse.
    """
    plain = fold(text).strip().lower()
    if match := _YEARS.match(plain):
        return float(match.group(1))
    return 0.0 if _YOUNGER.match(plain) else None


_SEXES = {
    **dict.fromkeys(("男", "男性", "1", "m", "male", "男孩", "男婴"), "male"),
    **dict.fromkeys(("女", "女性", "2", "f", "female", "女孩", "女婴"), "female"),
    **dict.fromkeys(
        ("未知", "未知的性别", "不详", "未说明", "未说明的性别", "其他", "0", "9", "u", "unknown", "other"),
        "",
    ),
}


def read_sex(text: str) -> str | None:
    """`male`, `female`, `""` where the export says that it is unknown (GB/T 2261.1: 0, 9); `None` if the word is none of these."""
    return _SEXES.get(fold(text).strip().lower())
