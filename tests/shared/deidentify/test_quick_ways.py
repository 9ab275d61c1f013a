"""What makes the recognisers fast finds what the slow and obvious way finds."""

from __future__ import annotations

import re
import sys
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.deidentify import Span, recognisers
from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.recognisers import dates
from emr_fl_shared.deidentify.recognisers.known import Known, Row
from emr_fl_shared.deidentify.spans import settle
from emr_fl_shared.deidentify.word_finder import WordFinder
from recall.notes import clean_notes, notes

GUARDED = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in (sys.modules[type(recogniser).__module__] for recogniser in recognisers())
    for name, value in vars(module).items()
    if isinstance(value, Guarded)
}


@cache
def texts() -> tuple[str, ...]:
    """Generated notes of both halves, masked numbers and clean texts, folded."""
    written = [
        note.text
        for half in ("development", "sealed")
        for seed in (1, 2)
        for note in notes(half, 300, seed)[0]
    ]
    masked = ["身份证330102********1234", "手机138****8000，客服400-820-8820"]
    return tuple(fold(text) for text in (*written, *masked, *clean_notes("development", 100, 1)))


@pytest.mark.parametrize("name", GUARDED)
def test_a_beginning_leaves_out_no_match(name: str) -> None:
    guarded = GUARDED[name]
    quick = [[match.span() for match in guarded.finditer(text)] for text in texts()]
    plain = [[match.span() for match in guarded.pattern.finditer(text)] for text in texts()]
    assert quick == plain
    assert any(plain)


def test_a_wrong_beginning_would_be_seen() -> None:
    wrong = Guarded(GUARDED["phone._MOBILE"].pattern.pattern, r"1(?<!\d.)[35]")
    assert any(
        [match.span() for match in wrong.finditer(text)]
        != [match.span() for match in wrong.pattern.finditer(text)]
        for text in texts()
    )


def test_every_date_begins_at_a_run_of_digits_that_is_tried() -> None:
    tried = matched = 0
    for text in texts():
        places = {match.start() for match in dates._DIGITS.finditer(text)}
        for run in re.finditer(r"\d+", text):
            before = text[run.start() - 1 : run.start()] == "'"
            if dates._PATTERN.match(text, run.start() - before):
                matched += 1
                assert run.start() in places
            tried += 1
    assert 1000 < matched < tried


WORDS = st.dictionaries(st.text("甲乙丙丁", min_size=1, max_size=4), st.none(), min_size=1, max_size=12)


@given(WORDS, st.text("甲乙丙丁戊", max_size=14))
@settings(max_examples=500, deadline=None)
def test_words_are_found_wherever_they_stand(entries: dict[str, None], text: str) -> None:
    finder = WordFinder(entries)
    found = [
        (start, word)
        for start in range(len(text))
        for word in sorted(entries, key=len, reverse=True)
        if text.startswith(word, start)
    ]
    longest = {start: word for start, word in reversed(found)}
    assert finder.all(text) == found
    assert finder.longest(text) == sorted(longest.items())
    for start in range(len(text)):
        assert finder.length_at(text, start) == len(longest.get(start, ""))
        assert finder.covers(text, start, 0, start) == any(
            first < start < first + len(word) for first, word in found
        )


SPANS = st.lists(
    st.builds(
        lambda start, length, kind, score: Span(start, start + length, kind, score),
        st.integers(0, 12),
        st.integers(1, 8),
        st.sampled_from(["DATE", "PHONE", "ADDRESS"]),
        st.sampled_from([0.7, 0.89, 0.9, 0.95]),
    ),
    max_size=9,
)


@given(SPANS)
@settings(max_examples=500, deadline=None)
def test_settling_character_by_character(spans: list[Span]) -> None:
    winner: dict[int, Span] = {}
    for span in sorted(spans, key=lambda span: (-span.score, span.start - span.end, span.start)):
        free = [place for place in range(span.start, span.end) if place not in winner]
        whole = len(free) == span.end - span.start
        for place in free:
            beside = (place - 1 in free) or (place + 1 in free)
            if whole or (span.score >= 0.9 and beside):
                winner[place] = span
    settled = settle(spans)
    assert {place: (span.kind) for span in settled for place in range(span.start, span.end)} == {
        place: span.kind for place, span in winner.items()
    }
    assert all(one.end <= other.start for one, other in pairwise(settled))
    assert all((one.end, one.kind) != (other.start, other.kind) for one, other in pairwise(settled))


@pytest.mark.parametrize("half", ["development", "sealed"])
def test_a_row_that_was_read_once_says_the_same(half: str) -> None:
    columns = {
        "patient": "patient_name",
        "id_card": "id_card",
        "mrn": "record_number",
        "visit": "visit_number",
    }
    found = 0
    for note in notes(half, 100, 3)[0]:  # type: ignore[arg-type]
        known = {columns[slot]: value for slot, value in note.row.items()}
        text, row = fold(note.text), Row(known)
        once = list(Known().find(text, row))
        assert once == list(Known().find(text, row)) == list(Known().find(text, known))
        found += len(once)
    assert found > 50


def test_letters_whose_capitals_are_two_shift_no_number() -> None:
    text = "ßßß号12345678尾"
    assert [(span.start, span.end) for span in Known().find(text, {"record_number": "12345678"})] == [(4, 12)]
