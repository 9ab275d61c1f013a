"""Scores of chapters: a chapter is true, or predicted, where one of its labels is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emr_fl_shared.errors import DataError
from emr_fl_shared.metrics import Decision, by_chapter, score_set

CHAPTERS = ("IX", "IV", "IX", "")
Y = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
P = np.array([[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float)


def test_by_hand() -> None:
    """IX: true in rows 0, 2; predicted in 0, 1, 2: tp 2, fp 1, fn 0, F1 4/5. IV: true and predicted in row 1: F1 1.
    Macro .9; micro tp 3, fp 1: 6/7. As labels, row 0 has the wrong one of the chapter."""
    scores = score_set(Y, P, Decision("threshold", 0.5), CHAPTERS)
    assert scores["chapter_macro_f1"] == pytest.approx(0.9)
    assert scores["chapter_micro_f1"] == pytest.approx(6 / 7)
    assert scores["chapters_absent"] == 0
    assert scores["macro_f1"] < 0.9


def test_what_has_no_chapter_changes_nothing() -> None:
    plain = score_set(Y, P, Decision("threshold", 0.5))
    assert score_set(Y, P, Decision("threshold", 0.5), ("",) * 4) == plain
    with_chapters = score_set(Y, P, Decision("threshold", 0.5), CHAPTERS)
    assert {name: with_chapters[name] for name in plain} == plain
    absent = score_set(Y[:2], P[:2], Decision("threshold", 0.5), ("I", "II", "III", "III"))
    assert absent["chapters_absent"] == 0  # label 2 never occurs, label 3 of its chapter does


def test_as_many_chapters_as_labels() -> None:
    with pytest.raises(DataError, match="as many chapters as labels"):
        by_chapter(("I",), Y)


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 8), st.just(5))),
    st.lists(st.sampled_from(["I", "II", "III", ""]), min_size=5, max_size=5),
)
def test_each_cell_is_any_of_its_labels(matrix: np.ndarray, chapters: list[str]) -> None:
    names, (found,) = by_chapter(chapters, matrix)
    assert found.shape == (len(matrix), len(names)) and "" not in names
    for row in range(len(matrix)):
        held = {chapter for chapter, cell in zip(chapters, matrix[row], strict=True) if cell} - {""}
        assert held == {name for name, cell in zip(names, found[row], strict=True) if cell}
