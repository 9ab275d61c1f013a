"""Iterative stratification, against numbers worked out by hand and the paper's algorithm done slowly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.dataset.stratify import Group, stratify

EMPTY = (np.zeros(2), np.zeros(2))


def test_by_hand() -> None:
    """Share 1/4. Label 1 has 4 records (wants 3 : 1), label 0 has 8 (6 : 2); all records: 8 (6 : 2).

    Label 1 has fewest: A, B go to training (wants 1 : 1, all 4 : 2), C at the tie by records to training (0 : 1), D to validation
    (0 : 0). A–D also have label 0, which then wants 3 : 1; E, F to training (1 : 1), G at the tie (records 1 : 1) to training
    as well (0 : 1), H to validation.
    """
    both, one = Group(1, ((0, 1), (1, 1))), Group(1, ((0, 1),))
    chosen = stratify([both] * 4 + [one] * 4, share=0.25, placed=EMPTY, placed_records=(0, 0))
    assert chosen.tolist() == [False, False, False, True, False, False, False, True]


def test_what_was_placed_before_counts() -> None:
    """30 records of one label are in training already; of 40, a quarter (10) should validate: all ten new ones."""
    groups = [Group(1, ((0, 1),))] * 10
    placed = (np.array([30.0]), np.array([0.0]))
    assert stratify(groups, share=0.25, placed=placed, placed_records=(30, 0)).all()
    placed = (np.array([20.0]), np.array([10.0]))
    assert not stratify(groups, share=0.25, placed=placed, placed_records=(20, 10)).any()


def test_records_without_a_label_are_shared_out_by_number() -> None:
    chosen = stratify([Group(1, ())] * 10, share=0.3, placed=EMPTY, placed_records=(0, 0))
    assert chosen.sum() == 3


@given(
    st.lists(st.dictionaries(st.integers(0, 4), st.just(1), max_size=5), min_size=1, max_size=60),
    st.floats(0.05, 0.5),
)
def test_for_single_records_it_is_the_papers_algorithm(rows: list[dict[int, int]], share: float) -> None:
    groups = [Group(1, tuple(sorted(row.items()))) for row in rows]
    placed = (np.zeros(5), np.zeros(5))
    assert stratify(groups, share=share, placed=placed, placed_records=(0, 0)).tolist() == slow(rows, share)


def slow(rows: list[dict[int, int]], share: float) -> list[bool]:
    """Algorithm 1, two subsets, one record at a time, everything counted afresh; with this project's caps and ties."""
    totals = [sum(label in row for row in rows) for label in range(5)]
    chosen: dict[int, bool] = {}

    def held(side: bool, label: int | None) -> int:
        return sum(chosen[n] is side and (label is None or label in rows[n]) for n in chosen)

    def want(side: bool, label: int | None) -> float:
        total = len(rows) if label is None else totals[label]
        return (share if side else 1.0 - share) * total - held(side, label)

    def place(number: int, label: int | None) -> None:
        first = want(True, label) - want(False, label)
        second = want(True, None) - want(False, None)
        prefers = second > 1e-6 if label is None or abs(first) < 1e-6 else first > 0
        fits = want(True, None) >= 1 - 1e-6
        fits = fits and all(held(True, other) + 1 <= totals[other] / 2 for other in rows[number])
        chosen[number] = prefers and fits

    while any(len(row) and n not in chosen for n, row in enumerate(rows)):
        left = {
            label: [n for n, row in enumerate(rows) if label in row and n not in chosen] for label in range(5)
        }
        label = min((label for label in left if left[label]), key=lambda label: (len(left[label]), label))
        for number in left[label]:
            place(number, label)
    for number in range(len(rows)):
        if number not in chosen:
            place(number, None)
    return [chosen[number] for number in range(len(rows))]
