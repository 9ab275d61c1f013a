"""The patient-level split: sides are for good, labels are spread evenly, copies stay together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from emr_fl_client.dataset.split import NO_MONTH, Split, last_months, split_records

Rows = tuple[list[str], NDArray[np.bool_]]


def split(
    patients: Sequence[str],
    y: NDArray[np.bool_],
    *,
    copies: Sequence[bytes] | None = None,
    months: Sequence[int] | None = None,
    **options: Any,
) -> Split:
    chosen = {"validation_share": 0.1, "seed": 0, **options}
    return split_records(
        patients,
        y,
        copies=copies if copies is not None else [b""] * len(patients),
        months=np.array(months if months is not None else [NO_MONTH] * len(patients), dtype=np.int32),
        **chosen,
    )


@st.composite
def sites(draw: st.DrawFn) -> Rows:
    count = draw(st.integers(1, 60))
    patients = draw(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=count, max_size=count))
    labels = draw(st.integers(1, 5))
    cells = draw(st.lists(st.booleans(), min_size=count * labels, max_size=count * labels))
    return patients, np.array(cells, dtype=np.bool_).reshape(count, labels)


@given(sites(), st.floats(0.0, 0.9), st.integers(0, 5))
def test_every_record_is_on_one_side_and_no_patient_on_two(site: Rows, share: float, seed: int) -> None:
    patients, y = site
    made = split(patients, y, validation_share=share, seed=seed)
    assert sorted([*made.train, *made.validation]) == list(range(len(patients)))
    assert not {patients[row] for row in made.train} & {patients[row] for row in made.validation}
    assert {patients[row] for row in made.validation} == {p for p, side in made.sides.items() if side}
    assert made.placed == len(set(patients)) and not made.set_aside


@given(sites(), st.floats(0.0, 0.9), st.integers(0, 5))
def test_every_label_that_the_site_has_is_trained_on(site: Rows, share: float, seed: int) -> None:
    patients, y = site
    made = split(patients, y, validation_share=share, seed=seed)
    assert len(made.train)
    assert np.array_equal(y[made.train].any(axis=0), y.any(axis=0))


@given(sites(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(site: Rows, seed: int, shuffler: random.Random) -> None:
    patients, y = site
    order = list(range(len(patients)))
    shuffler.shuffle(order)
    shuffled = split([patients[row] for row in order], y[order], validation_share=0.3, seed=seed)
    assert shuffled.sides == split(patients, y, validation_share=0.3, seed=seed).sides


@given(sites(), sites(), st.sampled_from(["patient", "time"]), st.data())
def test_no_patient_changes_sides_whatever_comes_or_goes(
    first: Rows, second: Rows, kind: str, data: st.DataObject
) -> None:
    """Rows appended, rows removed, shuffled, another share and seed, copies that were not there, the other kind of split."""
    labels = min(first[1].shape[1], second[1].shape[1])
    earlier = split(first[0], first[1], validation_share=0.3)
    patients = [*first[0], *second[0]]
    y = np.concatenate([first[1][:, :labels], second[1][:, :labels]])
    rows = data.draw(st.permutations(range(len(patients))))[: data.draw(st.integers(1, len(patients)))]
    keys = data.draw(
        st.lists(st.sampled_from([b"", b"x", b"y"]), min_size=len(patients), max_size=len(patients))
    )
    months = data.draw(st.lists(st.integers(-1, 6), min_size=len(patients), max_size=len(patients)))
    later = split(
        [patients[row] for row in rows],
        y[rows],
        copies=[keys[row] for row in rows],
        months=[months[row] for row in rows],
        kind=kind,
        validation_share=0.2,
        seed=9,
        known=earlier.sides,
    )
    assert {patient: later.sides[patient] for patient in earlier.sides} == earlier.sides
    chosen = [patients[row] for row in rows]
    assert all(not later.sides[chosen[row]] for row in later.train)
    assert all(later.sides[chosen[row]] for row in later.validation)
    assert later.placed == len(set(chosen) - set(earlier.sides))
    assert len(later.train) + len(later.validation) + later.set_aside.total() == len(rows)


def long_tail(records: int = 600, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    patients = [f"{seed}-{rng.integers(records // 2)}" for _ in range(records)]
    chance = 0.6 / np.arange(1, 31) ** 1.3
    return patients, rng.random((records, 30)) < chance


def check_shares(y: NDArray[np.bool_], validation: NDArray[np.int64], share: float) -> None:
    """Within a patient's worth of records (four of a label) and three points."""
    totals, held = y.sum(axis=0), y[validation].sum(axis=0)
    assert (np.abs(held - share * totals) <= 4 + 0.03 * totals).all()
    assert (held <= totals / 2).all()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_each_label_has_its_share(share: float) -> None:
    patients, y = long_tail(2000)
    made = split(patients, y, validation_share=share)
    assert 0.95 * share * len(y) <= len(made.validation) <= share * len(y)
    check_shares(y, made.validation, share)


def test_appended_records_bring_the_shares_nearer() -> None:
    """The new patients are placed given what the old ones hold: an old split without a label in validation is made up for."""
    patients, y = long_tail(1000)
    known = {patient: False for patient in patients}
    more, y_more = long_tail(1000, seed=1)
    both, y_both = [*patients, *more], np.concatenate([y, y_more])
    made = split(both, y_both, known=known)
    check_shares(y_both, made.validation, 0.1)
    assert 0.095 * len(both) <= len(made.validation) <= 0.1 * len(both)
    again = split(both, y_both, known=made.sides)
    assert again.placed == 0 and np.array_equal(again.validation, made.validation)


def test_rare_labels_stay_in_training() -> None:
    y = np.zeros((100, 2), dtype=np.bool_)
    y[:, 0] = True
    y[:4, 1] = True
    made = split([f"p{row}" for row in range(100)], y)
    assert y[made.validation].sum(axis=0).tolist() == [10, 0]


def test_equal_seeds_give_equal_splits_and_others_do_not() -> None:
    patients, y = long_tail()
    first, again = (split(patients, y, seed=1) for _ in range(2))
    assert first.sides == again.sides
    assert first.sides != split(patients, y, seed=2).sides
    assert np.array_equal(first.train, np.sort(first.train))


def test_a_very_small_site_still_gets_a_validation_record() -> None:
    assert len(split(list("abcde"), np.ones((5, 1), dtype=np.bool_)).validation) == 1


def test_one_patient_is_trained_on() -> None:
    made = split(["a", "a"], np.ones((2, 2), dtype=np.bool_), validation_share=0.5)
    assert list(made.train) == [0, 1] and len(made.validation) == 0


# --- copies -------------------------------------------------------------------------------------------------------------------


def test_patients_with_one_text_are_on_one_side() -> None:
    """Pairs of patients share a text; alone, stratification would part some of them (the control)."""
    y = np.ones((200, 1), dtype=np.bool_)
    patients = [f"p{row}" for row in range(200)]
    copies = [b"%d" % (row // 2) for row in range(200)]
    tied = split(patients, y, copies=copies)
    loose = split(patients, y)
    parted = [
        [made.sides[f"p{2 * pair}"] != made.sides[f"p{2 * pair + 1}"] for pair in range(100)]
        for made in (tied, loose)
    ]
    assert not any(parted[0]) and any(parted[1])
    assert not tied.set_aside and len(tied.validation) == 20


def test_a_new_patient_follows_the_copied_text() -> None:
    y = np.ones((4, 1), dtype=np.bool_)
    known = {"old-t": False, "old-v": True}
    made = split(["old-t", "old-v", "new-1", "new-2"], y, copies=[b"t", b"v", b"t", b"v"], known=known)
    assert made.sides == {**known, "new-1": False, "new-2": True}


def test_a_new_patient_whose_texts_are_on_both_sides_trains() -> None:
    y = np.ones((4, 1), dtype=np.bool_)
    made = split(["t", "v", "new", "new"], y, copies=[b"1", b"2", b"1", b"2"], known={"t": False, "v": True})
    assert made.sides["new"] is False
    assert made.train.tolist() == [0, 2, 3] and made.set_aside == {"copy": 1}


def test_a_text_that_many_patients_have_does_not_tie_them_but_is_not_validated_on() -> None:
    """Half of 400 patients have one text: they can't all be on one side with the labels even, so validation goes without it."""
    y = np.ones((400, 1), dtype=np.bool_)
    copies = [b"common" if row < 200 else b"" for row in range(400)]
    made = split([f"p{row}" for row in range(400)], y, copies=copies)
    assert (made.validation >= 200).all() and 10 <= len(made.validation) <= 30
    assert made.set_aside == {"copy": 40 - len(made.validation)}


def test_a_copy_between_patients_with_a_side_is_not_validated_on() -> None:
    y = np.ones((3, 1), dtype=np.bool_)
    made = split(["t", "v", "v"], y, copies=[b"x", b"x", b""], known={"t": False, "v": True})
    assert made.train.tolist() == [0] and made.validation.tolist() == [2]
    assert made.set_aside == {"copy": 1}


# --- by time ------------------------------------------------------------------------------------------------------------------


def test_by_time_trains_on_the_past_and_validates_on_the_last_months() -> None:
    months = [2022 * 12 + row // 10 for row in range(200)]
    made = split([f"p{row}" for row in range(200)], np.ones((200, 1), np.bool_), months=months, kind="time")
    assert made.train.tolist() == list(range(180))
    assert made.validation.tolist() == list(range(180, 200))


def test_by_time_a_patient_with_earlier_visits_does_not_validate() -> None:
    months = [*range(100, 110), 109]
    patients = [f"p{row}" for row in range(10)] + ["p0"]
    made = split(patients, np.ones((11, 1), np.bool_), months=months, kind="time")
    assert made.train.tolist() == list(range(9)) and made.validation.tolist() == [9]
    assert made.set_aside == {"time": 1}


def test_by_time_the_window_moves_on_but_nobody_changes_sides() -> None:
    y = np.ones((10, 1), np.bool_)
    first = split([f"p{row}" for row in range(10)], y, months=range(10), kind="time")
    assert [patient for patient, side in first.sides.items() if side] == ["p9"]
    patients = [f"p{row}" for row in range(20)]
    later = split(patients, np.ones((20, 1), np.bool_), months=range(20), kind="time", known=first.sides)
    assert later.sides["p9"] and later.validation.tolist() == [18, 19]
    assert later.train.tolist() == [*range(9), *range(10, 18)]
    assert later.set_aside == {"time": 1}


@pytest.mark.parametrize(
    ("months", "share", "since"),
    [
        pytest.param([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.1, 10, id="one of ten"),
        pytest.param([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.29, 9, id="never more than the share"),
        pytest.param([1, 9, 9, 9], 0.1, 9, id="at least the last month"),
        pytest.param([1, 2, 8, NO_MONTH, NO_MONTH], 0.4, 2, id="a gap, and records without a date"),
        pytest.param([5, 5, 5], 0.5, 6, id="one month"),
        pytest.param([NO_MONTH, NO_MONTH], 0.5, 0, id="no date"),
        pytest.param([1, 2], 0.0, 3, id="no share"),
    ],
)
def test_the_last_months(months: list[int], share: float, since: int) -> None:
    assert last_months(np.array(months, dtype=np.int32), share) == since


@pytest.mark.parametrize(
    ("patients", "options"),
    [
        pytest.param(["a"], {}, id="lengths"),
        pytest.param(["a", "b"], {"validation_share": 1.0}, id="share"),
        pytest.param(["a", ""], {}, id="no patient"),
        pytest.param(["a", "b"], {"copies": [b""]}, id="copies"),
        pytest.param(["a", "b"], {"months": [1]}, id="months"),
    ],
)
def test_wrong_arguments_are_refused(patients: list[str], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        split(patients, np.ones((2, 1), dtype=np.bool_), **options)
