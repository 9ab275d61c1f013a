"""ICD-10 codes as Chinese hospitals write them."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_shared.labels import icd10, load_taxonomy, parse_code, parse_range
from emr_fl_shared.labels.icd10 import ParsedCode, category_index


@pytest.mark.parametrize(
    ("raw", "category"),
    [
        ("I10", "I10"),
        ("Ｉ１０", "I10"),
        ("i10", "I10"),
        (" I10.x00 ", "I10"),
        ("I10.x00x002", "I10"),
        ("I10xx02", "I10"),
        ("I10.X", "I10"),
        ("J069", "J06"),
        ("J06.900", "J06"),
        ("E11.900x001", "E11"),
        ("M54.502", "M54"),
        ("M80.000", "M80"),
        ("'K29.500", "K29"),
        ("J06.900(急性上呼吸道感染)", "J06"),
        ("J06.900急性上呼吸道感染", "J06"),
        ("U07.100x003", "U07"),
    ],
)
def test_the_same_category_in_many_forms(raw: str, category: str) -> None:
    assert parse_code(raw) == ParsedCode(category)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("M80000/3", "morphology"),
        ("M800000/3", "morphology"),
        ("8140/3", "morphology"),
        ("Ｍ８１４００／３", "morphology"),
        ("A01.03.01", "tcm"),
        ("B04.02.01.03.01", "tcm"),
        ("BNX010", "tcm"),
        ("110.x00", "typing-error"),
        ("l10".replace("l", "1"), "typing-error"),
        ("I1O.x00", "typing-error"),
        ("J O6.9", "typing-error"),
        ("高血压", "not-a-code"),
        ("", "not-a-code"),
        ("12345678", "not-a-code"),
        ("38.5", "not-a-code"),
    ],
)
def test_what_is_refused(raw: str, reason: str) -> None:
    assert parse_code(raw) == ParsedCode(reason=reason)


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        ("A17.0†G01*", ParsedCode("A17", "", "G01", "†")),
        ("A17.0+G01*", ParsedCode("A17", "", "G01", "†")),
        ("G01*A17.0†", ParsedCode("A17", "", "G01", "†")),
        ("E11.2＋/N08.3＊", ParsedCode("E11", "", "N08", "†")),
        ("E11.200+", ParsedCode("E11", "", "", "†")),
        ("N08.3*", ParsedCode("N08", "", "", "*")),
    ],
)
def test_dagger_and_asterisk(raw: str, parsed: ParsedCode) -> None:
    assert parse_code(raw) == parsed


@given(st.text(max_size=30))
def test_any_text_is_a_code_or_has_a_reason(text: str) -> None:
    parsed = parse_code(text)
    assert bool(parsed.category) != bool(parsed.reason)


def test_ranges() -> None:
    assert parse_range("E78") == (478, 478)
    assert parse_range(" i10 – i15 ") == (category_index("I10"), category_index("I15"))
    assert parse_range("A15-B99") == (15, 199)
    for bad in ("I15-I10", "I1-I2", "10-15", "I10.1-I10.9", ""):
        with pytest.raises(ValueError):
            parse_range(bad)


def test_every_three_character_category_has_a_label_but_external_causes() -> None:
    taxonomy = load_taxonomy("outpatient-50")
    # Categories that ICD-10 (2019) has; the gaps in its numbering have no disease.
    present = {
        "A": "00-09 15-99", "B": "00-09 15-99", "C": "00-97", "D": "00-48 50-89", "E": "00-07 10-90", "F": "00-48 50-99",
        "G": "00-99", "H": "00-22 25-95", "I": "00-15 20-52 60-99", "J": "00-06 09-22 30-47 60-99", "K": "00-14 20-31 35-77 80-87 90-93",
        "L": "00-99", "M": "00-25 30-36 40-54 60-99", "N": "00-08 10-23 25-51 60-77 80-99", "O": "00-99", "P": "00-96", "Q": "00-99",
        "R": "00-99", "S": "00-99", "T": "00-98", "U": "00-99", "Z": "00-99",
    }  # fmt: skip
    for letter, spans in present.items():
        for span in spans.split():
            first, last = map(int, span.split("-"))
            for number in range(first, last + 1):
                assert taxonomy.of_code(f"{letter}{number:02d}").index is not None, f"{letter}{number:02d}"
    assert taxonomy.of_code("V01").reason == taxonomy.of_code("Y90").reason == "unmapped"


def test_documentation_examples() -> None:
    assert doctest.testmod(icd10).failed == 0
