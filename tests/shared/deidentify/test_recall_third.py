"""The third set is what it says: enough identifiers of every kind, spans where the values stand, the same for the same seed.

How much of it the cleaner finds is counted by tests/benchmarks/deidentification_recall.py.
"""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from recall.measure import KIND_OF_SLOT, NAMES
from recall_third.grammar import expand
from recall_third.notes import clean_notes, notes, templates
from recall_third.styles import Pieces, styled

_WRITTEN, _ROSTER = notes(1600, 1)
_SIGNS = re.compile(r"[\s·•.．]")
_SHAPES = {
    "mobile": r"(?=.{11,19}$)[\d０-９OlSB+＋()（）\s.．_＿—－-]+",
    "email": r"[\w.．＿]+ ?[@＠][\w.．]+",
    "age": r"[\d０-９]{2,3}|九十[一二三四五六七八九]?",
    "qq": r"[\d０-９]{7,10}",
    "bank": r"[\d０-９OlSB 　]{16,26}",
}


def test_counts() -> None:
    counted = Counter(KIND_OF_SLOT[one.kind] for note in _WRITTEN for one in note.planted)
    total = sum(counted.values())
    assert set(counted) == set(KIND_OF_SLOT.values())
    assert min(counted.values()) >= 60, counted
    assert total >= 7500
    assert 0.28 < sum(counted[kind] for kind in NAMES) / total < 0.42
    assert len(set(templates())) == len(templates()) >= 150
    assert len({note.text for note in _WRITTEN}) == len(_WRITTEN)


def test_spans_are_whole_and_apart() -> None:
    for note in _WRITTEN:
        at = 0
        for one in note.planted:
            assert at <= one.start < one.end <= len(note.text)
            value = note.text[one.start : one.end]
            assert value == value.strip()
            at = one.end


@pytest.mark.parametrize("kind", sorted(_SHAPES))
def test_spans_hold_values_of_their_kind(kind: str) -> None:
    values = [note.text[one.start : one.end] for note in _WRITTEN for one in note.planted if one.kind == kind]
    assert values
    for value in values:
        assert re.fullmatch(_SHAPES[kind], value), value


def test_staff_are_on_the_roster_and_patients_in_the_row() -> None:
    bare = {_bare(name) for name in _ROSTER}
    named = 0
    for note in _WRITTEN:
        values = {kind: set[str]() for kind in ("staff", "patient")}
        for one in note.planted:
            if one.kind in values:
                values[one.kind].add(_bare(note.text[one.start : one.end]))
        assert values["staff"] <= bare
        if "patient" in note.row and note.row["patient"].isalpha() and not note.row["patient"].isascii():
            named += 1
            assert _bare(note.row["patient"]) in values["patient"]
    assert named > 1000


def test_no_slot_is_left_and_a_seed_gives_the_same_again() -> None:
    clean = clean_notes(400, 1)
    assert sum(map(len, clean)) >= 60_000
    for text in (*clean, *(note.text for note in _WRITTEN)):
        assert not re.search(r"[{}\[\]]|<[a-z]+>|<\d+-\d+>", text), text
    assert notes(40, 7) == notes(40, 7) != notes(40, 8)
    assert clean_notes(40, 7) == clean_notes(40, 7) != clean_notes(40, 8)


def test_clean_text_has_no_number_of_a_person() -> None:
    for text in clean_notes(400, 1):
        assert not re.search(r"\d{7}|(?:19|20)\d\d\s*[年./-]|\d+月\d+[日号]|@", text), text


def test_styles_keep_letters_and_order_of_identifiers() -> None:
    pieces: Pieces = [("姓名：", None), ("龚夏语", "patient"), ("，", None), ("QX12", "mrn"), ("。\n", None)]
    for seed in range(200):
        told = [(text, kind) for text, kind in styled(pieces, Random(seed)) if kind]
        assert [kind for _, kind in told] == ["patient", "mrn"]
        assert told[0][0] == "龚夏语"


def test_expansion_of_the_grammar() -> None:
    assert expand("[甲<x>|甲<x>]<3-3>{patient2}", {"x": ["[乙|乙]"]}, Random(1)) == "甲乙3{patient2}"


def _bare(name: str) -> str:
    return _SIGNS.sub("", name)
