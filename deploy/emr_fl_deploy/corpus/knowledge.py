"""What the corpus knows of medicine: the diseases and findings of the lexicon, and how often each occurs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import yaml

from emr_fl_deploy.corpus.resources import read_table, read_yaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALREADY_NEGATIVE = re.compile(r"^[无未不没]|正常$|如常$")
_SPAN = re.compile(
    r"(?:半|数|[一二两三四五六七八九十]+|\d+)(?:余|多)?(?:小时|分钟|个月|天|日|周|月|年)(?:半|余)?"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A symptom, sign, result or habit, with the wordings in which a note may state it."""

    term: str
    kind: str
    synonyms: tuple[str, ...] = ()
    colloquial: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    sex: str = "any"

    def fits(self, sex: str) -> bool:
        return self.sex in ("any", sex)

    @property
    def deniable(self) -> bool:
        return self.kind in ("symptom", "sign") and not _ALREADY_NEGATIVE.search(self.term)


@dataclass(frozen=True, slots=True)
class Disease:
    """One disease of a label, as the lexicon describes it."""

    label: int
    zh: str
    weight: float
    codes: tuple[str, ...]
    names: tuple[str, ...]
    sex: str
    ages: tuple[int, int]
    departments: tuple[str, ...]
    chronic: bool
    season: str
    findings: Mapping[str, float]
    negatives: tuple[str, ...]
    confusable: tuple[int, ...]
    vitals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    labs: Mapping[str, tuple[float, float, str]] = field(default_factory=dict)
    drugs: tuple[str, ...] = ()
    course: tuple[str, ...] = ()

    def fits(self, sex: str, age: int) -> bool:
        return self.sex in ("any", sex) and self.ages[0] <= age <= self.ages[1]


@dataclass(frozen=True)
class Knowledge:
    """All diseases and findings, with what the corpus derives from them.

    `sharing[term]`: number of labels with the finding.
    `curable`: diseases that a past history may call over.
    `deniable[label, sex]`: symptoms of the label's diseases in this sex, which a note may deny.
    """

    diseases: tuple[Disease, ...]
    findings: Mapping[str, Finding]
    by_label: Mapping[int, tuple[Disease, ...]]
    sharing: Mapping[str, int]
    deniable: Mapping[tuple[int, str], tuple[str, ...]]
    curable: tuple[Disease, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(self.by_label)


def _split(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split("|") if part.strip())


def _files(folder: Traversable, ending: str) -> list[Traversable]:
    if not folder.is_dir():
        return []
    return sorted(
        (item for item in folder.iterdir() if item.name.endswith(ending)), key=lambda item: item.name
    )


def _read_findings(folder: Traversable) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    language = read_yaml("language.yaml")
    only = {sex: re.compile(language[f"only_{sex}"]) for sex in ("female", "male")}
    for item in _files(folder, ".tsv"):
        lines = [line for line in item.read_text("utf-8").splitlines() if line.strip() and line[0] != "#"]
        header = lines[0].split("\t")
        for line in lines[1:]:
            row = dict(zip(header, line.split("\t") + [""] * len(header), strict=False))
            finding = Finding(
                row["term"].strip(),
                row["kind"].strip(),
                _split(row["synonyms"]),
                _split(row["colloquial"]),
                _split(row["abbreviations"]),
                next((sex for sex, pattern in only.items() if pattern.search(row["term"])), "any"),
            )
            found.setdefault(finding.term, finding)
    return found


def _disease(entry: Mapping[str, Any], not_a_drug: re.Pattern[str], route: re.Pattern[str]) -> Disease:
    drugs = [
        route.sub("", str(text)) for text in entry.get("treatments", ()) if not not_a_drug.search(str(text))
    ]
    low, high = entry["ages"]
    return Disease(
        label=int(entry["label"]),
        zh=str(entry["zh"]),
        weight=float(entry["weight"]),
        codes=tuple(str(code) for code in entry["codes"]),
        names=tuple(dict.fromkeys([str(entry["zh"]), *(str(name) for name in entry.get("aliases", ()))])),
        sex=str(entry["sex"]),
        ages=(int(low), int(high)),
        departments=tuple(entry["departments"]),
        chronic=bool(entry["chronic"]),
        season=str(entry.get("season") or ""),
        findings={str(term): float(p) for term, p in entry["findings"].items()},
        negatives=tuple(str(term) for term in entry.get("negatives", ())),
        confusable=tuple(int(label) for label in entry.get("confusable", ())),
        vitals={str(k): (float(v[0]), float(v[1])) for k, v in (entry.get("vitals") or {}).items()},
        labs={str(k): (float(v[0]), float(v[1]), str(v[2])) for k, v in (entry.get("labs") or {}).items()},
        drugs=tuple(dict.fromkeys(drug for drug in drugs if 2 <= len(drug) <= 9)),
        course=tuple(
            dict.fromkeys(m[0] for text in entry.get("course", ()) if (m := _SPAN.search(str(text))))
        ),
    )


@cache
def load_knowledge() -> Knowledge:
    """The lexicon of `emr_fl_shared` as the corpus uses it; wordings reserved for test noise are not read."""
    lexicon = files("emr_fl_shared") / "resources" / "lexicon"
    findings = _read_findings(lexicon / "findings")
    language = read_yaml("language.yaml")
    not_a_drug, route = re.compile(language["not_a_drug"]), re.compile(language["route"])
    diseases: list[Disease] = []
    for item in _files(lexicon / "diseases", ".yaml"):
        entries = yaml.load(item.read_text("utf-8"), Loader=_Loader) or []
        diseases += [_disease(entry, not_a_drug, route) for entry in entries]
    diseases.sort(key=lambda disease: (disease.label, disease.zh))
    return derive(diseases, findings)


def _askable(finding: Finding | None, sex: str) -> bool:
    return finding is not None and finding.kind == "symptom" and finding.deniable and finding.fits(sex)


def derive(diseases: Iterable[Disease], findings: Mapping[str, Finding]) -> Knowledge:
    """Index the diseases and count how many labels share each finding."""
    by_label: dict[int, list[Disease]] = defaultdict(list)
    owners: dict[str, set[int]] = defaultdict(set)
    for disease in diseases:
        by_label[disease.label].append(disease)
        for term in disease.findings:
            owners[term].add(disease.label)
    never_over = re.compile(read_yaml("language.yaml")["never_over"])
    deniable = {
        (label, sex): tuple(
            dict.fromkeys(
                term
                for disease in group
                if disease.sex in ("any", sex)
                for term in disease.findings
                if _askable(findings.get(term), sex)
            )
        )
        for label, group in by_label.items()
        for sex in ("male", "female")
    }
    return Knowledge(
        diseases=tuple(disease for label in sorted(by_label) for disease in by_label[label]),
        findings=findings,
        by_label={label: tuple(by_label[label]) for label in sorted(by_label)},
        sharing={term: len(labels) for term, labels in owners.items()},
        deniable=deniable,
        curable=tuple(
            disease
            for group in by_label.values()
            for disease in group
            if not disease.chronic and len(disease.zh) <= 8 and not never_over.search(disease.zh)
        ),
    )


def finding_probabilities(
    knowledge: Knowledge, generator: np.random.Generator, *, base: float, per_sharing: float, prior: float
) -> dict[str, tuple[tuple[str, float], ...]]:
    """Disease name → (finding, probability) at one hospital.

    P = [prior · P_lexicon + (1 − prior) · (base + per_sharing · sharing)] · U(.5, 1.5): findings that many labels
    share are the common ones, telling ones are rare, and each hospital sees and writes them differently often.
    """
    table: dict[str, tuple[tuple[str, float], ...]] = {}
    for disease in knowledge.diseases:
        pairs = []
        for term, stated in disease.findings.items():
            shared = base + per_sharing * min(knowledge.sharing[term], 5)
            drawn = (prior * stated + (1 - prior) * shared) * generator.uniform(0.5, 1.5)
            if term in knowledge.findings:
                pairs.append((term, float(min(0.85, max(0.02, drawn)))))
        table[f"{disease.label}/{disease.zh}"] = tuple(pairs)
    return table


@cache
def prevalence_order() -> tuple[int, ...]:
    """Labels from the most to the least frequent."""
    return tuple(int(row["label"]) for row in read_table("prevalence.tsv"))


@cache
def comorbidity_factors() -> Mapping[tuple[int, int], float]:
    """(label, other label) → how many times more likely the other is beside it."""
    return {
        (int(row["label"]), int(row["with"])): float(row["factor"]) for row in read_table("comorbidity.tsv")
    }
