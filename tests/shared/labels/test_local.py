"""`labels.local.toml`: what it may say, what is refused, and what it decides."""

from __future__ import annotations

import hashlib

import pytest

from emr_fl_shared.errors import SettingsError
from emr_fl_shared.labels import column_taxonomy, load_taxonomy, map_labels, map_values
from emr_fl_shared.labels.local import parse_local_mapping
from emr_fl_shared.messages import set_language
from emr_fl_shared.records import Record

GOOD = """\
taxonomy = "outpatient-50"
[labels]
"ZD-0017" = "高血压"
"血压高" = "Hypertension"
"糖病" = 2
"I10.x00x999" = "ignore"
"复诊取药" = "ignore"
"高血压待查" = "高血压"
"""
FIFTY = load_taxonomy("outpatient-50")


@pytest.fixture(autouse=True)
def _english():
    set_language("en")
    yield
    set_language(None)


def mapped(record: Record) -> tuple[list[str], tuple[str, ...]]:
    local = parse_local_mapping(GOOD.encode(), where="labels.local.toml").bind(FIFTY)
    indices, reasons = map_labels(record, FIFTY, local)
    return [FIFTY.names[index] for index in indices], reasons


@pytest.mark.parametrize(
    ("record", "labels", "reasons"),
    [
        pytest.param(Record(diagnosis_codes=("ＺＤ-0017",)), ["高血压"], (), id="local code"),
        pytest.param(Record(diagnosis_codes=("zd-0017", "J06")), ["高血压", "急性上呼吸道感染"], (), id="and ICD-10"),
        pytest.param(Record(diagnosis_codes=("I10.x00x999",)), [], ("ignored",), id="before ICD-10"),
        pytest.param(Record(diagnosis_codes=("I10.x00x999",), diagnosis_text="糖尿病"), [], ("ignored",), id="ignored is decided"),
        pytest.param(Record(diagnosis_text="血压 高；糖病，怪病"), ["高血压", "糖尿病"], ("unmapped",), id="written"),
        pytest.param(Record(diagnosis_text="高血压待查"), ["高血压"], (), id="before what is said"),
        pytest.param(Record(diagnosis_text="胃炎待查"), [], ("uncertain",), id="others as ever"),
        pytest.param(Record(labels=("血压高", "复诊取药")), ["高血压"], ("ignored",), id="label column"),
    ],
)  # fmt: skip
def test_what_it_decides(record: Record, labels: list[str], reasons: tuple[str, ...]) -> None:
    assert mapped(record) == (labels, reasons)


def test_without_it_the_same_values_give_nothing() -> None:
    record = Record(diagnosis_codes=("ZD-0017",), diagnosis_text="血压高")
    assert [value.reason for value in map_values(record, FIFTY)] == ["not-a-code", "unmapped"]


def test_the_digest_is_of_the_bytes_and_the_summary_holds_no_value() -> None:
    mapping = parse_local_mapping(GOOD.encode(), where="x")
    assert mapping.digest == hashlib.sha256(GOOD.encode()).hexdigest()
    assert mapping.summary().startswith("4 values to labels of outpatient-50, 2 ignored")
    assert "血压高" not in mapping.summary() + repr(mapping)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("秘密 = [", "not valid TOML", id="not TOML"),
        pytest.param('taxonomy = "t"\n[labels]\n"秘密" = "a"\n"秘密" = "b"\n', "not valid TOML", id="a key twice"),
        pytest.param('taxonomy = "t"\n[labels]\n"秘密A" = "a"\n"秘密 ａ" = "b"\n', "same value twice", id="folded twice"),
        pytest.param('taxonomy = "t"\n[labels]\n" " = "a"\n', "an empty value", id="empty"),
        pytest.param('taxonomy = "t"\n[labels]\n', "not a local mapping", id="no entry"),
        pytest.param('[labels]\n"秘密" = "a"\n', "not a local mapping", id="no label set"),
        pytest.param('taxonomy = "t"\n"秘密" = 1\n[labels]\na = "a"\n', "not a local mapping", id="unknown key"),
        pytest.param('taxonomy = "t"\n[labels]\n"秘密" = ["a"]\n', "not a local mapping", id="a list"),
        pytest.param('taxonomy = "t"\n[labels]\n"秘密" = true\n', "not a local mapping", id="a truth value"),
    ],
)  # fmt: skip
def test_what_is_no_mapping(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        parse_local_mapping(text.encode(), where="labels.local.toml")
    assert caught.value.exit_code == 2 and "秘密" not in str(caught.value)
    with pytest.raises(SettingsError, match="UTF-8"):
        parse_local_mapping(text.encode("utf-16"), where="labels.local.toml")


def test_all_unknown_labels_at_once() -> None:
    text = 'taxonomy = "outpatient-50"\n[labels]\n"a" = "高血圧"\n"b" = "糖尿病"\n"c" = 51\n'
    with pytest.raises(SettingsError) as caught:
        parse_local_mapping(text.encode(), where="f").bind(FIFTY)
    assert [(p.where, p.got) for p in caught.value.problems] == [
        ("f, [labels] entry 1", "高血圧"),
        ("f, [labels] entry 3", "51"),
    ]


def test_a_mapping_for_other_labels_is_refused() -> None:
    mapping = parse_local_mapping(b'taxonomy = "column"\n[labels]\na = "b"\n', where="f")
    for taxonomy in (FIFTY, column_taxonomy(["a", "b"])):
        with pytest.raises(SettingsError, match="another label set"):
            mapping.bind(taxonomy)
