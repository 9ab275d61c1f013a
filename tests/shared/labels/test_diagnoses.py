"""Diagnoses written as text: the dictionary, what is said about a diagnosis, and records that have no code."""

from __future__ import annotations

import doctest
import hashlib
from collections import Counter
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_shared.labels import (
    Taxonomy,
    column_taxonomy,
    diagnoses,
    load_diagnoses,
    load_taxonomy,
    map_labels,
    map_values,
    read_term,
    split_terms,
)
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.records import Record
from emr_fl_shared.text.lexicon import load_lexicon


@pytest.fixture(scope="module")
def fifty() -> Taxonomy:
    return load_taxonomy("outpatient-50")


def test_every_term_stands_once_and_leads_to_a_label(fifty: Taxonomy) -> None:
    text = (files("emr_fl_shared") / "resources" / "labels" / "diagnoses.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")][1:]
    categories = Counter(category for category, _ in rows)
    terms = Counter(fold_name(name) for _, names in rows for name in names.split("|"))
    assert max(categories.values()) == max(terms.values()) == 1 and "" not in terms
    known = load_diagnoses()
    assert (known.name, known.version) == ("diagnoses", "1")
    assert known.checksum == hashlib.sha256(text.encode()).hexdigest()
    labels = Counter(fifty.of_code(category).index for category in known.categories.values())
    assert None not in labels and len(labels) == 50 and min(labels.values()) >= 10


def test_the_dictionary_and_the_lexicon_agree(fifty: Taxonomy) -> None:
    known = load_diagnoses().categories
    positions = {label.id: position for position, label in enumerate(fifty.labels)}
    compared = 0
    for disease in load_lexicon().diseases:
        for name in (disease.zh, *disease.aliases):
            if fold_name(name) in known:
                compared += 1
                assert fifty.of_code(known[fold_name(name)]).index == positions[disease.label], name
    assert compared > 500


@pytest.mark.parametrize("term", ["高血压", "高血压病", "原发性高血压", "HTN", "htn", " 高 血压 ", "ＨＴＮ"])
def test_names_and_abbreviations(term: str) -> None:
    assert read_term(term) == ("I10", "")


@pytest.mark.parametrize("abbreviation", ["AP", "CP", "AS", "MS", "CVA", "CHD", "ASD"])
def test_an_abbreviation_of_several_diseases_is_not_guessed(abbreviation: str) -> None:
    assert read_term(abbreviation) == ("", "unmapped")


@pytest.mark.parametrize(
    ("term", "category"),
    [
        ("高血压病3级（极高危）", "I10"),
        ("高血压2级", "I10"),
        ("双膝骨关节炎", "M17"),
        ("右侧腹股沟斜疝", "K40"),
        ("慢性阻塞性肺疾病急性加重期", "J44"),
        ("非酒精性脂肪肝(轻度)", "K76"),
        ("脑梗死后遗症", "I69"),
        ("发热待查", "R50"),
        ("腹痛原因待查", "R10"),
        ("术后复查", "Z09"),
    ],
)
def test_what_does_not_change_the_category(term: str, category: str) -> None:
    assert read_term(term) == (category, "")


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("高血压待查", "uncertain"),
        ("肺炎？", "uncertain"),
        ("肺炎?", "uncertain"),
        ("疑似肺结核", "uncertain"),
        ("考虑冠心病", "uncertain"),
        ("不除外肺炎", "uncertain"),
        ("糖尿病（待排）", "uncertain"),
        ("头晕？", "uncertain"),
        ("排除肺炎", "excluded"),
        ("肺炎除外", "excluded"),
        ("否认糖尿病", "excluded"),
        ("糖尿病史", "history"),
        ("胆囊切除术后", "history"),
        ("肺炎后", "history"),
        ("2型糖尿病(术后)", "history"),
        ("父亲高血压", "unmapped"),
        ("无名的病", "unmapped"),
        ("妊娠合并高血压病", "unmapped"),
    ],
)
def test_doubt_exclusion_and_history_give_no_label(term: str, reason: str) -> None:
    assert read_term(term) == ("", reason)


@pytest.mark.parametrize(
    ("cell", "terms"),
    [
        ("1.高血压病 2.糖尿病；上感", ("高血压病", "糖尿病", "上感")),
        ("1、高血压 2、2型糖尿病", ("高血压", "2型糖尿病")),
        ("(1)高血压(2)糖尿病", ("高血压", "糖尿病")),
        ("①高血压②糖尿病", ("高血压", "糖尿病")),
        ("高血压，2型糖尿病", ("高血压", "2型糖尿病")),
        ("高血压；2.糖尿病；高血压", ("高血压", "糖尿病")),
        ("高血压 3级", ("高血压 3级",)),
        ("", ()),
        ("；；", ()),
    ],
)
def test_terms_of_a_cell(cell: str, terms: tuple[str, ...]) -> None:
    assert split_terms(cell) == terms


@given(st.text(max_size=40))
def test_any_text_is_a_category_or_has_a_reason(text: str) -> None:
    category, reason = read_term(text)
    assert bool(category) != bool(reason)
    for term in split_terms(text):
        assert term.strip() == term != ""


@given(st.sampled_from(sorted(load_diagnoses().categories)), st.sampled_from(["待查", "？", "可能", "待排"]))
def test_a_disease_in_doubt_is_never_mapped(term: str, doubt: str) -> None:
    category, reason = read_term(term + doubt)
    assert (
        reason == "uncertain"
        or (category.startswith("R") and doubt == "待查")
        or term + doubt in load_diagnoses().categories
    )


def names_of(record: Record, taxonomy: Taxonomy) -> tuple[list[str], tuple[str, ...]]:
    indices, reasons = map_labels(record, taxonomy)
    return [taxonomy.names[index] for index in indices], reasons


def test_a_code_comes_before_the_text(fifty: Taxonomy) -> None:
    record = Record(diagnosis_codes=("I10.x00",), diagnosis_text="糖尿病；支气管哮喘")
    assert names_of(record, fifty) == (["高血压"], ())
    outside = Record(diagnosis_codes=("V01",), diagnosis_text="糖尿病")
    assert names_of(outside, fifty) == ([], ("unmapped",))  # it is a code, and the label set does not have it


@pytest.mark.parametrize(
    ("codes", "reasons"),
    [
        ((), ()),
        (("A01.03.01",), ("tcm",)),
        (("110.x00",), ("typing-error",)),
        (("M80000/3",), ("morphology",)),
    ],
)
def test_the_text_counts_where_no_code_can_be_read(
    fifty: Taxonomy, codes: tuple[str, ...], reasons: tuple[str, ...]
) -> None:
    record = Record(diagnosis_codes=codes, diagnosis_text="高血压；糖尿病待查；怪病")
    assert names_of(record, fifty) == (["高血压"], (*reasons, "uncertain", "unmapped"))


def test_a_label_column_comes_before_both(fifty: Taxonomy) -> None:
    record = Record(labels=("冠心病",), diagnosis_codes=("I10",), diagnosis_text="糖尿病")
    assert names_of(record, fifty) == (["缺血性心脏病"], ())
    assert [value.value for value in map_values(record, fifty)] == ["冠心病"]


def test_a_label_set_with_its_own_ranges(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("own") / "two.csv"
    path.write_text("id,zh,en,icd10\n1,心,heart,I00-I99\n2,肺,lung,J00-J99\n", "utf-8")
    taxonomy = load_taxonomy(path)
    assert names_of(Record(diagnosis_text="慢支，冠心病，湿疹"), taxonomy) == (["心", "肺"], ("unmapped",))


def test_labels_as_they_stand_are_never_translated() -> None:
    taxonomy = column_taxonomy(["高血压", "冠心病"])
    assert map_labels(Record(labels=("高血压病",)), taxonomy) == ((), ("unmapped",))
    assert map_labels(Record(diagnosis_text="高血压病"), taxonomy) == ((), ())


def test_documentation_examples() -> None:
    result = doctest.testmod(diagnoses)
    assert result.failed == 0 and result.attempted >= 2
