"""Names by the odds of their characters: what the score says, and what keeps a word from being a name."""

from __future__ import annotations

import pytest

from emr_fl_shared.deidentify.recognisers.likely_names import LikelyNames
from emr_fl_shared.deidentify.wordlists import rows


def found(text: str) -> list[str]:
    return [text[span.start : span.end] for span in LikelyNames().find(text, {})]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("接诊护士罗懿春测体温", ["罗懿春"]),
        ("已由门诊部赵跃琪解释", ["赵跃琪"]),
        ("通知上官晨根到场", ["上官晨根"]),
        ("请冯佩电话沟通", ["冯佩"]),
        ("罗懿春、赵跃琪,高文祥", ["罗懿春", "赵跃琪", "高文祥"]),
    ],
)
def test_names_that_nothing_announces(text: str, names: list[str]) -> None:
    assert found(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "高血压病史10年,时有头晕,马上来院",  # words of the clinical lists and of the dictionary begin there
        "方法是单纯性,周围组织",
        "口服厄贝沙坦片,他莫昔芬10mg",  # drugs
        "考虑罗森塔尔纤维,许莫氏结节",  # what is named after somebody
        "温馨提示,矫正右眼",  # words that the dictionary marks as names
        "张",
        "",
        "王",
    ],
)
def test_words_stay(text: str) -> None:
    assert found(text) == []


def test_less_around_it_asks_for_more_of_the_name() -> None:
    assert found("已由王强解释") and not found("哥王强商")
    assert found("哥彭佳鹏商量") == ["彭佳鹏"]


def test_every_row_of_the_odds_is_a_number_for_each_place_it_may_take() -> None:
    listed = rows("name_odds.tsv")
    assert len(listed) > 3000 and len({row[0] for row in listed}) == len(listed)
    for characters, surname, *given in listed:
        assert len(characters) in (1, 2) and len(given) == 3
        assert surname or all(given)
        assert all(abs(float(value)) < 20 for value in (surname, *given) if value)
