"""Values of one record that contradict each other: sex or age and diagnosis, codes and the written diagnosis.

The rules are data: `resources/quality/sex_of_diagnoses.tsv` and `age_of_diagnoses.tsv`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from emr_fl_shared.labels import Taxonomy, parse_code, parse_range
from emr_fl_shared.labels.icd10 import category_index
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.labels.taxonomy import BUILT_IN, CodeResult
from emr_fl_shared.quality.cell_values import read_age, read_sex
from emr_fl_shared.quality.finding import RECORDS, Finding, Wording, defect
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import Record

_TERMS = re.compile(r"[;；|｜、，,/\n\r+]+|(?:^|\s)\d{1,2}[.、)）．]\s*")


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (files("emr_fl_shared") / "resources" / "quality" / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return iter(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _categories(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, last = parse_range(part)
        yield from range(first, last + 1)


@cache
def sex_of_categories() -> Mapping[int, str]:
    """Index of an ICD-10 category (`category_index`) -> the only sex that can have it."""
    return {
        category: row["sex"]
        for row in _rows("sex_of_diagnoses.tsv")
        for category in _categories(row["icd10"])
    }


@cache
def ages_of_categories() -> Mapping[int, tuple[int, int]]:
    """Index of an ICD-10 category -> first and last age in completed years."""
    return {
        category: (int(row["from"]), int(row["to"]))
        for row in _rows("age_of_diagnoses.tsv")
        for category in _categories(row["icd10"])
    }


@register
class Contradictions:
    """Counts records, each once a kind, and by the category of ICD-10 that contradicts."""

    name = "contradictions"

    def __init__(self, export: Export) -> None:
        self._export = export
        self._names = names_of_labels(export.taxonomy)
        self._codes: dict[str, CodeResult] = {}
        self._categories: dict[str, str] = {}
        self._compares = export.has("diagnosis_codes", "diagnosis_text")
        self._count: Counter[str] = Counter()
        self._by_category: dict[str, Counter[str]] = {"sex": Counter(), "age": Counter()}

    def see(self, record: Record) -> None:
        if not record.diagnosis_codes:
            return
        categories = [category for category in map(self._category, record.diagnosis_codes) if category]
        self._sex(record, categories)
        self._age(record, categories)
        if self._compares and record.diagnosis_text:
            self._text(record)

    def _category(self, code: str) -> str:
        found = self._categories.get(code)
        if found is None:
            found = self._categories[code] = parse_code(code).category
        return found

    def _sex(self, record: Record, categories: list[str]) -> None:
        sex = read_sex(record.sex)
        if not sex:
            return
        only = sex_of_categories()
        against = [category for category in categories if only.get(category_index(category), sex) != sex]
        self._note("sex", against)

    def _age(self, record: Record, categories: list[str]) -> None:
        age = read_age(record.age)
        if age is None or not 0 <= age <= 120:
            return
        ages = ages_of_categories()
        against = []
        for category in categories:
            first, last = ages.get(category_index(category), (0, 120))
            if not first <= int(age) <= last:
                against.append(category)
        self._note("age", against)

    def _note(self, kind: str, against: list[str]) -> None:
        if against:
            self._count[kind] += 1
            self._by_category[kind].update(set(against))

    def _text(self, record: Record) -> None:
        """A term of the written diagnosis is the name of a label that no code of the record has."""
        coded: set[int] = set()
        for code in record.diagnosis_codes:
            result = self._codes.get(code)
            if result is None:
                result = self._codes[code] = self._export.taxonomy.of_code(code)
            if result.index is None:
                return  # a code that is not understood may be the one
            coded.add(result.index)
            if result.other and (other := self._export.taxonomy.of_code(result.other).index) is not None:
                coded.add(other)
        self._count["compared"] += 1
        named = {
            label
            for term in _TERMS.split(record.diagnosis_text)
            if term and (label := self._names.get(fold_name(term))) is not None
        }
        self._count["text"] += not named <= coded

    def findings(self) -> Iterator[Finding]:
        if self._export.has("diagnosis_codes", "sex"):
            yield self._against(
                "sex",
                Wording("diagnoses that the sex can't have", "与性别矛盾的诊断"),
                Wording("correct the sex or the code", "请更正性别或编码"),
            )
        if self._export.has("diagnosis_codes", "age"):
            yield self._against(
                "age",
                Wording("diagnoses that the age hardly has", "与年龄矛盾的诊断"),
                Wording("correct the age or the code", "请更正年龄或编码"),
            )
        if self._compares:
            yield defect(
                "contradictions.code_text",
                Wording("written diagnoses that the codes lack", "与编码矛盾的诊断文字"),
                self._count["text"],
                self._count["compared"],
                RECORDS,
                Wording(
                    "the text names a category that no code of the record has: the codes train, so look at them",
                    "诊断文字所指类别在编码中没有：训练依据编码，请核对编码",
                ),
            )

    def _against(self, kind: str, subject: Wording, do: Wording) -> Finding:
        return defect(
            f"contradictions.{kind}",
            subject,
            self._count[kind],
            self._export.records,
            RECORDS,
            do,
            details=dict(sorted(self._by_category[kind].items())),
        )


def names_of_labels(taxonomy: Taxonomy) -> dict[str, int]:
    """Folded names of the labels and, for the built-in set, of the diseases in them -> position of the label.

    A name that stands for two labels is left out. Only whole terms are compared with these: no guessing.
    """
    found: dict[str, set[int]] = {}
    for position, label in enumerate(taxonomy.labels):
        for name in (label.zh, label.en):
            found.setdefault(fold_name(name), set()).add(position)
    if taxonomy.name in BUILT_IN:
        from emr_fl_shared.text.lexicon import load_lexicon

        positions = {label.id: position for position, label in enumerate(taxonomy.labels)}
        for disease in load_lexicon().diseases:
            for name in (disease.zh, *disease.aliases):
                found.setdefault(fold_name(name), set()).add(positions[disease.label])
    return {name: next(iter(labels)) for name, labels in found.items() if name and len(labels) == 1}
