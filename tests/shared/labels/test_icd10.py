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


CATEGORY = st.from_regex(r"[A-TV-Z][0-9]{2}", fullmatch=True)
SUBDIVISION = st.one_of(
    st.just(""),
    st.from_regex(r"\.[0-9]", fullmatch=True),  # WHO
    st.from_regex(r"[0-9]", fullmatch=True),  # without a dot
    st.from_regex(r"\.[0-9]{3}", fullmatch=True),  # v601
    st.from_regex(r"\.[0-9X]00x[0-9]{3}", fullmatch=True),  # national clinical and insurance 2.0
    st.sampled_from([".x00", "xx02", ".X"]),
)


def wide(text: str) -> str:
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


@given(
    CATEGORY,
    SUBDIVISION,
    st.sampled_from([str, str.lower, wide, "'{}".format, " {} ".format, "{}（病名）".format]),
)
def test_any_category_in_any_form(category: str, subdivision: str, written: object) -> None:
    assert callable(written)
    assert parse_code(written(category + subdivision)) == ParsedCode(category)


@given(CATEGORY, SUBDIVISION, CATEGORY, st.sampled_from([("†", "*"), ("+", "*"), ("＋", "＊"), ("+/", "*")]))
def test_of_any_pair_the_dagger_counts(
    dagger: str, subdivision: str, star: str, marks: tuple[str, str]
) -> None:
    pair = f"{dagger}{subdivision}{marks[0]}{star}{marks[1]}"
    assert parse_code(pair) == ParsedCode(dagger, "", star, "†")


@given(st.from_regex(r"M[0-9]{4,6}/[0-9]", fullmatch=True), st.sampled_from([str, str.lower, wide]))
def test_any_morphology_is_refused(code: str, written: object) -> None:
    assert callable(written)
    assert parse_code(written(code)) == ParsedCode(reason="morphology")


@given(st.from_regex(r"[A-C][0-9]{2}(\.[0-9]{2}){2,4}\.?|[BZ][A-Z]{2,4}[0-9]{1,3}", fullmatch=True))
def test_any_code_of_chinese_medicine_is_refused(code: str) -> None:
    assert parse_code(code) == ParsedCode(reason="tcm")


@pytest.mark.parametrize(
    ("form", "codes"),
    [
        ("v601", ["E11.900", "I10.x00", "K29.500", "J06.903"]),
        ("national clinical 2.0", ["E11.900x001", "I10.x00x002", "K29.500x002", "J06.900x003"]),
        ("insurance 2.0", ["E11.900", "I10.x00x002", "K29.500", "J06.900"]),
        ("full width", ["Ｅ１１．９００", "Ｉ１０．ｘ００", "Ｋ２９．５００", "Ｊ０６．９００"]),
    ],
)
def test_the_same_diseases_in_each_coding(form: str, codes: list[str]) -> None:
    taxonomy = load_taxonomy("outpatient-50")
    found = [taxonomy.of_code(code).index for code in codes]
    assert [taxonomy.names[index] for index in found if index is not None] == [
        "糖尿病",
        "高血压",
        "食管胃十二指肠病",
        "急性上呼吸道感染",
    ], form
