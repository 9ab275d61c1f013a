"""What a check says: one line with its level, a count, what was seen and what to do. Never a value of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from emr_fl_shared.messages import tr

Level = Literal["ok", "warning", "stop"]


@dataclass(frozen=True, slots=True)
class Wording:
    """The same in English and Chinese. `str()` is the one in force; pages show both."""

    en: str = ""
    zh: str = ""

    def __str__(self) -> str:
        return tr(self.en, self.zh)

    def __bool__(self) -> bool:
        return bool(self.en or self.zh)

    def __add__(self, other: Wording | str) -> Wording:
        more = other if isinstance(other, Wording) else Wording(other, other)
        return Wording(self.en + more.en, self.zh + more.zh)


NOTHING = Wording("none", "无")


@dataclass(frozen=True, slots=True)
class Unit:
    """What is counted: the plural in English; in Chinese the measure word and the noun."""

    en: str
    measure: str
    zh: str = ""


RECORDS = Unit("records", "条", "记录")
ROWS = Unit("rows", "行")
PATIENTS = Unit("patients", "名", "患者")
CELLS = Unit("cells", "个", "单元格")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    `key` is stable and begins with the family (`values.date_future`); `do` is empty where the level is ok; `count` is how often, `of` how often it could have been (0: not
    a share); `details` holds counts by column, reason, type or label.
    """

    key: str
    subject: Wording
    level: Level
    count: int
    seen: Wording
    do: Wording = Wording()
    of: int = 0
    details: Mapping[str, int] = field(default_factory=dict)

    @property
    def silent(self) -> bool:
        """Whether the check looked for something and found none."""
        return self.level == "ok" and self.seen == NOTHING

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values; words are in the language in force."""
        return {
            "key": self.key,
            "level": self.level,
            "count": self.count,
            "of": self.of,
            "subject": str(self.subject),
            "seen": str(self.seen),
            "do": str(self.do),
            "details": dict(self.details),
        }


def defect(
    key: str,
    subject: Wording,
    count: int,
    of: int,
    unit: Unit,
    do: Wording,
    *,
    level: Level = "warning",
    details: Mapping[str, int] | None = None,
) -> Finding:
    """The finding of a check that counts a defect: `level` if there is one, else ok."""
    if not count:
        return Finding(key, subject, "ok", 0, NOTHING, of=of)
    return Finding(key, subject, level, count, counted(count, of, unit), do, of, details or {})


def counted(count: int, of: int, unit: Unit) -> Wording:
    """`12 of 400 records (3.0%)`."""
    return Wording(
        f"{count:,} of {of:,} {unit.en} ({share(count, of)})",
        f"{of:,} {unit.measure}{unit.zh}中 {count:,} {unit.measure}（{share(count, of)}）",
    )


def share(count: int, of: int) -> str:
    """A share in percent, with one decimal; what is not nothing never reads 0.0%."""
    percent = 100 * count / max(1, of)
    return "< 0.1%" if 0 < percent < 0.05 else f"{percent:.1f}%"


def worst(findings: list[Finding]) -> Level:
    """The highest level among the findings; `ok` if there is none."""
    found = {finding.level for finding in findings}
    return "stop" if "stop" in found else "warning" if "warning" in found else "ok"
