from __future__ import annotations

from collections.abc import Mapping

import pytest

from emr_fl_shared.text import confusions
from emr_fl_shared.text.confusions import (
    MEANINGFUL,
    homophones,
    lookalikes,
    shape_pairs,
    side_of_pair,
    syllables,
    term_pairs,
    unit_pairs,
)
from emr_fl_shared.text.lexicon import load_lexicon
from emr_fl_shared.text.vocabulary import gb2312_hanzi


def unordered(*tables: Mapping[str, tuple[str, ...]]) -> set[frozenset[str]]:
    return {frozenset((one, other)) for table in tables for one, others in table.items() for other in others}


def everything(side: confusions.Side) -> set[frozenset[str]]:
    return unordered(homophones(side), lookalikes(side), term_pairs(side), unit_pairs(side))


def test_no_pair_on_both_sides() -> None:
    train, test = everything("train"), everything("test")
    assert min(len(train), len(test)) > 10_000
    assert not train & test


def test_training_never_writes_a_reserved_wording() -> None:
    written_in_training = {
        form
        for table in (term_pairs("train"), unit_pairs("train"))
        for forms in table.values()
        for form in forms
    }
    reserved = {
        form
        for table in (term_pairs("test"), unit_pairs("test"))
        for forms in table.values()
        for form in forms
    }
    assert len(reserved) > 500
    assert not written_in_training & reserved


@pytest.mark.parametrize("side", ["train", "test"])
def test_homophones_sound_alike(side: confusions.Side) -> None:
    sound = syllables()
    table = homophones(side)
    same = sum(sound[char] == sound[other] for char, others in table.items() for other in others)
    total = sum(map(len, table.values()))
    assert same == total if side == "train" else 0 < same < total
    assert all(other != char for char, others in table.items() for other in others)


def test_fuzzy_syllables() -> None:
    assert confusions._fuzzy("zhang") == {"zang", "zhan"}
    assert confusions._fuzzy("zan") == {"zhan", "zang"}
    assert confusions._fuzzy("lin") == {"nin", "ling"}
    assert "shi" in confusions._fuzzy("si")


@pytest.mark.parametrize("side", ["train", "test"])
def test_no_replacement_touches_a_character_that_carries_meaning(side: confusions.Side) -> None:
    for table in (homophones(side), lookalikes(side)):
        assert not MEANINGFUL & set(table)
        assert not MEANINGFUL & {other for others in table.values() for other in others}


@pytest.mark.parametrize("side", ["train", "test"])
def test_most_characters_have_a_confusion_on_either_side(side: confusions.Side) -> None:
    assert len(homophones(side)) > 3000
    assert len(lookalikes(side)) > 300


def test_shape_table() -> None:
    pairs = shape_pairs()
    known = set(gb2312_hanzi())
    assert len(pairs) >= 300
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(first != second and {first, second} <= known for first, second in pairs)


def test_side_does_not_depend_on_order_and_never_changes() -> None:
    assert side_of_pair("睛", "晴") == side_of_pair("晴", "睛")
    # Fixed for good: a change here would move pairs between training and evaluation of existing models.
    assert [side_of_pair(*pair) for pair in ("睛晴", "己已", "胀涨", "咳该")] == [
        "test",
        "train",
        "test",
        "train",
    ]


def test_term_pairs_stay_inside_a_concept() -> None:
    lexicon = load_lexicon()
    for side in ("train", "test"):
        for wording, others in term_pairs(side).items():
            assert {lexicon.concept(other) for other in others} == {lexicon.concept(wording)}
    assert "BP" in term_pairs("train")["血压"]
    assert "d" in unit_pairs("train")["天"]
