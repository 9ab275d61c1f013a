"""The shipped lexicon is consistent as a whole: one owner for each wording, evaluation wordings kept apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib.resources import files
from typing import Any

import pytest
import yaml

from emr_fl_shared.labels import load_taxonomy

ROOT = files("emr_fl_shared") / "resources" / "lexicon"
TRAINING = ("synonyms", "colloquial", "abbreviations")
KINDS = {"symptom", "sign", "laboratory", "imaging", "history"}
VITALS = {"体温", "收缩压", "舒张压", "心率", "呼吸", "血氧"}
FIELDS = {
    *(
        "label",
        "zh",
        "en",
        "weight",
        "codes",
        "aliases",
        "abbreviations",
        "sex",
        "ages",
        "departments",
        "season",
    ),
    *("chronic", "findings", "negatives", "confusable", "vitals", "labs", "treatments", "course"),
}


def _table(name: str, folder: Any = ROOT) -> list[dict[str, str]]:
    lines = [line for line in (folder / name).read_text("utf-8").splitlines() if line and line[0] != "#"]
    header = lines[0].split("\t")
    for line in lines[1:]:
        assert len(line.split("\t")) == len(header), (
            f"{name}: {line.split(chr(9))[0]} has a wrong number of cells"
        )
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]


def _all_findings() -> list[dict[str, str]]:
    names = sorted(item.name for item in (ROOT / "findings").iterdir() if item.name.endswith(".tsv"))
    return [row for name in names for row in _table(name, ROOT / "findings")]


def _all_diseases() -> list[dict[str, Any]]:
    names = sorted(item.name for item in (ROOT / "diseases").iterdir() if item.name.endswith(".yaml"))
    return [d for name in names for d in yaml.safe_load((ROOT / "diseases" / name).read_text("utf-8"))]


FINDINGS = _all_findings()
GENERAL = [row for row in _table("general.tsv") if row["category"] != "unit"]
DISEASES = _all_diseases()
TERMS = {row["term"] for row in FINDINGS}


def _words(row: dict[str, str], *columns: str) -> list[str]:
    return [word for column in columns for word in row[column].split("|") if word]


def test_size() -> None:
    assert len(FINDINGS) >= 600
    by_label = Counter(disease["label"] for disease in DISEASES)
    assert set(by_label) == set(range(1, 51))
    assert min(by_label.values()) >= 2


def test_every_concept_is_defined_once() -> None:
    counts = Counter(row["term"] for row in (*FINDINGS, *GENERAL))
    assert [term for term, count in counts.items() if count > 1] == []


def test_every_finding_has_a_known_kind_and_clean_cells() -> None:
    for row in FINDINGS:
        assert row["kind"] in KINDS, row["term"]
        assert row["en"].strip(), row["term"]
        for word in (row["term"], *_words(row, *TRAINING, "noise_forms")):
            assert word == word.strip() != "", row["term"]


def test_a_wording_means_one_concept() -> None:
    """Otherwise a synonym swap could turn one finding into another."""
    owners: dict[str, list[str]] = defaultdict(list)
    for row in (*FINDINGS, *GENERAL):
        for word in (row["term"], *_words(row, *TRAINING)):
            owners[word].append(row["term"])
    assert {word: terms for word, terms in owners.items() if len(terms) > 1} == {}


def test_evaluation_wordings_stand_in_no_training_column() -> None:
    training = {word for row in (*FINDINGS, *GENERAL) for word in (row["term"], *_words(row, *TRAINING))}
    training |= {
        word for d in DISEASES for word in (d["zh"], *d.get("aliases", ()), *d.get("abbreviations", ()))
    }
    noise = [word for row in (*FINDINGS, *GENERAL) for word in _words(row, "noise_forms")]
    assert sorted(set(noise) & training) == []
    assert [word for word, count in Counter(noise).items() if count > 1] == []
    assert sum(bool(row["noise_forms"]) for row in FINDINGS) >= 0.85 * len(FINDINGS)


@pytest.mark.parametrize("disease", DISEASES, ids=lambda d: f"{d['label']}-{d['zh']}")
def test_disease(disease: dict[str, Any]) -> None:
    assert set(disease) <= FIELDS, set(disease) - FIELDS
    assert 0 < disease["weight"] <= 1
    assert disease["sex"] in ("any", "male", "female")
    low, high = disease["ages"]
    assert 0 <= low <= high <= 110
    assert disease["departments"] and disease["treatments"] and disease["course"]
    assert isinstance(disease["chronic"], bool)
    assert disease.get("season", "winter") in ("winter", "summer")
    assert len(disease["findings"]) >= 12
    assert all(0.05 <= p <= 0.6 for p in disease["findings"].values())
    assert set(disease["findings"]) <= TERMS, set(disease["findings"]) - TERMS
    assert set(disease["negatives"]) <= TERMS, set(disease["negatives"]) - TERMS
    assert disease["negatives"]
    assert len(disease["negatives"]) == len(set(disease["negatives"]))
    assert disease["confusable"] and set(disease["confusable"]) <= set(range(1, 51)) - {disease["label"]}
    assert set(disease.get("vitals") or {}) <= VITALS
    assert all(len(value) == 3 and value[1] > 0 for value in (disease.get("labs") or {}).values())


def test_codes_map_to_the_diseases_own_label() -> None:
    taxonomy = load_taxonomy("outpatient-50")
    wrong = [
        (disease["zh"], code)
        for disease in DISEASES
        for code in disease["codes"]
        if taxonomy.of_code(code).index != disease["label"] - 1
    ]
    assert wrong == []


def test_weights_within_a_label_add_up() -> None:
    totals: dict[int, float] = defaultdict(float)
    for disease in DISEASES:
        totals[disease["label"]] += disease["weight"]
    assert {label: round(total, 2) for label, total in totals.items() if not 0.95 <= total <= 1.05} == {}


def test_no_disease_is_defined_twice() -> None:
    counts = Counter((disease["label"], disease["zh"]) for disease in DISEASES)
    assert [name for name, count in counts.items() if count > 1] == []


def test_findings_are_used() -> None:
    used = {term for d in DISEASES for term in (*d["findings"], *d["negatives"])}
    assert sorted(TERMS - used) == []
