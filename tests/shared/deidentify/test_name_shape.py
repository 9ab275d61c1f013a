"""What looks like a name when nothing stands around it."""

from __future__ import annotations

import pytest

from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.name_shape import name_shape


@pytest.mark.parametrize("name", ["濮阳澍昶", "淳于骁澍", "欧阳锦程", "张建国", "李芳"])
def test_a_cell_that_is_a_name(name: str) -> None:
    assert name_shape().is_whole(name) and name_shape().is_whole(name, loose=True)


@pytest.mark.parametrize("name", ["成霁", "白霁珺", "张翊澍"])
def test_rare_ones_only_where_no_words_should_be(name: str) -> None:
    assert name_shape().is_whole(name, loose=True)


@pytest.mark.parametrize(
    "word",
    [
        "高血压",
        "高热",
        "白内障",
        "黄疸",
        "水肿",
        "白癜风",
        "头痛",
        "I10.x00",
        "濮阳",
        "高血压病",
        "",
        "方",
    ],
)
def test_a_cell_that_is_a_word(word: str) -> None:
    assert not name_shape().is_whole(word) and not name_shape().is_whole(word, loose=True)


@pytest.mark.parametrize("text", ["患者：濮阳澍昶。", "患者濮阳澍昶，男，60岁"])
def test_a_compound_surname_that_is_a_place_as_well(text: str) -> None:
    assert "濮阳" not in Deidentifier(key=b"k" * 32).text(text, {})[0]


@pytest.mark.parametrize("text", ["患者濮阳来诊。", "曾到濮阳市务工。", "家在濮阳农村。"])
def test_the_place_itself_is_no_name(text: str) -> None:
    assert "PATIENT_NAME" not in Deidentifier(key=b"k" * 32).text(text, {})[0]
