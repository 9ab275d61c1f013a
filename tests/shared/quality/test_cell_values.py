"""Dates, ages and sexes as exports write them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_shared.quality.cell_values import is_serial, read_age, read_date, read_sex


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-05",
        "2024/3/5",
        "2024.03.05",
        "2024年3月5日",
        "２０２４－０３－０５",
        "20240305",
        "20240305093000",
        "2024-03-05 09:30:00",
        "2024-03-05T09:30:00+08:00",
        "2024年03月05日09时30分",
        " 2024-3-5 ",
    ],
)
def test_dates(text: str) -> None:
    assert read_date(text) == date(2024, 3, 5)


def test_months_and_quarters() -> None:
    assert read_date("2024-03") == read_date("2024年3月") == date(2024, 3, 1)
    assert [read_date(f"2024-Q{quarter}") for quarter in (1, 2, 3, 4)] == [
        date(2024, month, 1) for month in (1, 4, 7, 10)
    ]


@pytest.mark.parametrize(
    "text", ["", "2023-02-29", "2024-13-01", "2024-00-10", "24-03-05", "昨天", "45356", "0000-01-01", "2024"]
)
def test_no_dates(text: str) -> None:
    assert read_date(text) is None


def test_days_of_spreadsheets() -> None:
    assert is_serial("45356") and is_serial("45356.25")
    assert not is_serial("2024") and not is_serial("20240305") and not is_serial("x")


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("59", 59),
        ("59岁", 59),
        ("５９岁", 59),
        ("59周岁", 59),
        ("59Y", 59),
        ("2岁3月", 2),
        ("2岁3个月5天", 2),
        ("3月", 0),
        ("11个月", 0),
        ("5天", 0),
        ("1月5天", 0),
        ("36小时", 0),
        ("90+", 90),
        ("59.5", 59.5),
        ("-1", -1),
        ("999", 999),
    ],
)
def test_ages(text: str, age: float) -> None:
    assert read_age(text) == age


@pytest.mark.parametrize("text", ["", "不详", "五十", "成人", "岁", "59岁男", "1965-03-01"])
def test_no_ages(text: str) -> None:
    assert read_age(text) is None


@pytest.mark.parametrize(
    ("text", "sex"),
    [("男", "male"), ("Ｆ", "female"), ("2", "female"), ("未知", ""), ("9", ""), ("3", None), ("先生", None)],
)
def test_sexes(text: str, sex: str | None) -> None:
    assert read_sex(text) == sex


@given(st.text(alphabet="0123456789０岁月天年日-/.:T +QxXy个小时", max_size=40))
def test_no_text_raises(text: str) -> None:
    read_date(text)
    read_age(text)
    is_serial(text)
