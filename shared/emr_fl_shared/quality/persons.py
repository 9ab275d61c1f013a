"""What should be the same for one person and is not: id card, sex, year of birth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.quality.cell_values import OLDEST_VISIT, read_age, read_date, read_sex
from emr_fl_shared.quality.finding import PATIENTS, Finding, Unit, Wording, defect
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import Record

_ID_CARD = re.compile(r"^(?:\d{6}(\d{4})\d{7}[\dXx]|\d{6}(\d{2})\d{7})$")
_ID_CARDS = Unit("id cards", "个", "身份证号")
_SLACK = 1
"""Years by which a year of birth from an age may be off: whether the birthday was before the visit is not known."""


@dataclass(slots=True)
class _Person:
    sexes: int = 0  # 1: male, 2: female, 3: both
    exact_first: int = 9999
    exact_last: int = 0
    about_first: int = 9999
    about_last: int = 0

    @property
    def several_years(self) -> bool:
        if self.exact_last > self.exact_first:
            return True
        if self.about_last - self.about_first > _SLACK and self.about_last:
            return True
        return bool(
            self.exact_last
            and self.about_last
            and (self.about_first < self.exact_last - _SLACK or self.about_last > self.exact_first + _SLACK)
        )


@register
class Persons:
    """One id card for several patients; one patient with several sexes or years of birth."""

    name = "persons"

    def __init__(self, export: Export) -> None:
        self._export = export
        self._persons: dict[int, _Person] = {}
        self._cards: dict[int, int] = {}
        self._shared: set[int] = set()

    def see(self, record: Record) -> None:
        if not record.patient_id:
            return
        patient = hash(record.patient_id)
        person = self._persons.get(patient)
        if person is None:
            person = self._persons[patient] = _Person()
        person.sexes |= {"male": 1, "female": 2}.get(read_sex(record.sex) or "", 0)
        card = fold(record.identifiers.get("id_card", "")).strip().upper()
        if card and self._cards.setdefault(hash(card), patient) != patient:
            self._shared.add(hash(card))
        self._note_birth(person, record, card)

    def _note_birth(self, person: _Person, record: Record, card: str) -> None:
        born = read_date(record.identifiers.get("birth_date", ""))
        years = [born.year] if born else []
        if match := _ID_CARD.match(card):
            years.append(int(match.group(1) or "19" + match.group(2)))
        for year in years:
            person.exact_first = min(person.exact_first, year)
            person.exact_last = max(person.exact_last, year)
        age, visit = read_age(record.age), read_date(record.visit_date)
        if visit is None or not OLDEST_VISIT <= visit.year <= self._export.today.year:
            return
        if age is not None and 0 <= age <= 120 and "+" not in record.age:  # 90+ is a band of ages
            year = visit.year - int(age)
            person.about_first = min(person.about_first, year)
            person.about_last = max(person.about_last, year)

    def findings(self) -> Iterator[Finding]:
        has = self._export.has
        if has("patient_id", "id_card"):
            yield self._shared_cards()
        if has("patient_id", "sex"):
            yield self._several(
                "sexes",
                Wording("patients with more than one sex", "性别不一致的患者"),
                sum(person.sexes == 3 for person in self._persons.values()),
                Wording("one number for several people, or a typing error", "一个编号对应多人，或录入错误"),
            )
        if has("patient_id") and (has("id_card") or has("birth_date") or has("age", "visit_date")):
            yield self._several(
                "birth_years",
                Wording("patients with more than one year of birth", "出生年份不一致的患者"),
                sum(person.several_years for person in self._persons.values()),
                Wording(
                    "from ages, id cards and dates of birth: one number for several people, or a typing error",
                    "依据年龄、身份证号与出生日期：一个编号对应多人，或录入错误",
                ),
            )

    def _shared_cards(self) -> Finding:
        return defect(
            "patients.shared_id_card",
            Wording("id cards that several patients share", "多名患者共用的身份证号"),
            len(self._shared),
            len(self._cards),
            _ID_CARDS,
            Wording(
                "one person under several numbers? then join them, or the split tears the person apart",
                "是否同一人有多个编号？请合并，否则划分会把同一人拆开",
            ),
        )

    def _several(self, what: str, subject: Wording, count: int, do: Wording) -> Finding:
        return defect(f"patients.several_{what}", subject, count, len(self._persons), PATIENTS, do)
