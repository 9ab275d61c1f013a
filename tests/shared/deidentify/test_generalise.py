"""Broader values in place of identifiers: dates, ages, beds. Expected numbers were counted by hand."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.generalise import (
    LONGEST_SHIFT,
    Generalisation,
    age_band,
    patient_shift,
    quarter_of,
    read_day,
)
from emr_fl_shared.records import Record

KEY = b"key of the site"
VISIT = Record(record_id="1", patient_id="P1", visit_date="2024-03-05", age="67岁", department="心内科二病区")


def cleaner(general: Generalisation, key: bytes = KEY) -> Deidentifier:
    return Deidentifier(key=key, generalisation=general)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("于2024-03-02起病", "于就诊前3天起病"),
        ("2024年3月5日就诊", "就诊当日就诊"),
        ("预约2024.3.19复诊", "预约就诊后14天复诊"),
        ("3月1日加重", "就诊前4天加重"),
        ("12月5日手术", "就诊前91天手术"),
        ("3月20日复查", "就诊后15天复查"),
        ("2023年9月手术", "就诊前约6个月手术"),
        ("二〇二四年三月五日", "[DATE]"),
        ("2024年2月30日", "[DATE]"),
    ],
)
def test_days_from_the_visit(text: str, expected: str) -> None:
    clean, _ = cleaner(Generalisation(dates="days")).record(replace(VISIT, text=text))
    assert clean.text == expected
    assert clean.visit_date == "2024-Q1"
    again, spans = cleaner(Generalisation(dates="days")).text(clean.text)
    assert (again, spans) == (clean.text, [])


def test_days_without_a_visit_are_placeholders() -> None:
    record = Record(record_id="1", text="于2024-03-02起病")
    assert cleaner(Generalisation(dates="days")).record(record)[0].text == "于[DATE]起病"


def test_the_shift_is_the_keyed_one() -> None:
    """HMAC-SHA256 computed apart from the package."""
    drawn = int.from_bytes(hmac.new(KEY, b"shift\x1fpatient\x1fP1", hashlib.sha256).digest()[:8], "big")
    assert patient_shift(KEY, VISIT) == timedelta(days=1 + drawn % 364)
    assert patient_shift(b"another", VISIT) != patient_shift(KEY, VISIT)
    with pytest.raises(ValueError):
        patient_shift(b"", VISIT)


@given(st.dates(date(1990, 1, 1), date(2040, 1, 1)), st.integers(0, 400), st.text("0123456789", min_size=1))
def test_intervals_of_a_patient_are_kept(first: date, later: int, patient: str) -> None:
    shift = Generalisation(dates="shift")
    second = first + timedelta(days=later)
    one = Record(
        record_id="1", patient_id=patient, visit_date=first.isoformat(), text=f"{first.isoformat()}起病"
    )
    two = Record(
        record_id="2", patient_id=patient, visit_date=second.isoformat(), text=f"{second.isoformat()}起病"
    )
    clean = [cleaner(shift).record(record)[0] for record in (one, two)]
    moved = [date.fromisoformat(record.visit_date) for record in clean]
    assert moved[1] - moved[0] == second - first
    assert 1 <= (first - moved[0]).days <= LONGEST_SHIFT
    assert clean[0].text == f"[DATE:{moved[0].isoformat()}]起病", "the text moves with its visit"
    assert cleaner(shift).text(clean[0].text) == (clean[0].text, []), "cleaning twice changes nothing"


def test_a_month_moves_as_a_month() -> None:
    clean, _ = cleaner(Generalisation(dates="shift")).record(replace(VISIT, text="2019年6月手术"))
    moved = date(2019, 6, 15) - patient_shift(KEY, VISIT)
    assert clean.text == f"[DATE:{moved:%Y-%m}]手术"


def test_patients_shift_apart() -> None:
    shifts = {patient_shift(KEY, replace(VISIT, patient_id=str(n))).days for n in range(300)}
    assert len(shifts) > 150 and min(shifts) >= 1 and max(shifts) <= LONGEST_SHIFT


@pytest.mark.parametrize(
    ("age", "band"),
    [("0", "0-14"), ("14岁", "0-14"), ("15", "15-44"), ("44", "15-44"), ("45", "45-59"), ("60", "60-74"),
     ("75", "75-89"), ("89", "75-89"), ("90", "90+"), ("104岁", "90+"), ("95天", "0-14"), ("8月", "0-14"), ("６７", "60-74"), ("", ""), ("不详", ""), ("13911112222", ""), ("140", "")],
)  # fmt: skip
def test_bands(age: str, band: str) -> None:
    assert age_band(age) == band
    assert Generalisation(ages="band").age(band) == band


def test_beds_and_visits_become_the_department() -> None:
    general = Generalisation(beds="department", visits="department")
    clean, counts = cleaner(general).record(replace(VISIT, text="床号：12床，门诊号：MZ20240301"))
    assert clean.text == "床号：心内科，门诊号：心内科"
    assert counts["BED_NUM"] == counts["VISIT_NUM"] == 1
    assert cleaner(general).text(clean.text) == (clean.text, [])
    unknown, _ = cleaner(general).record(replace(VISIT, department="", text="床号：12床"))
    assert unknown.text == "床号：[BED_NUM]"


def test_quarters_of_columns_stay() -> None:
    assert [quarter_of(value) for value in ("2024-03-05", "2024-Q1", "", "x")] == [
        "2024-Q1",
        "2024-Q1",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "day"),
    [("20240305", date(2024, 3, 5)), ("202403051230", date(2024, 3, 5)), ("24年3月5日", date(2024, 3, 5)), ("２０２４／３／５", date(2024, 3, 5)),
     ("2024-03-05 08:30", date(2024, 3, 5)), ("'24-3-5", date(2024, 3, 5)), ("99", None), ("", None)],
)  # fmt: skip
def test_days_are_read(value: str, day: date | None) -> None:
    found = read_day(value)
    assert (found.day if found else None) == day
