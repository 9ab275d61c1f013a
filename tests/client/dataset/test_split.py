"""The patient-level split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from emr_fl_client.dataset.split import patient_split


@st.composite
def sites(draw: st.DrawFn) -> tuple[list[str], NDArray[np.bool_]]:
    count = draw(st.integers(1, 60))
    patients = draw(st.lists(st.sampled_from(["", *"abcdefghij"]), min_size=count, max_size=count))
    labels = draw(st.integers(1, 5))
    cells = draw(st.lists(st.booleans(), min_size=count * labels, max_size=count * labels))
    return patients, np.array(cells, dtype=np.bool_).reshape(count, labels)


@given(sites(), st.floats(0.0, 0.9), st.integers(0, 5))
def test_every_record_is_on_one_side_and_no_patient_on_two(site, share: float, seed: int) -> None:
    patients, y = site
    training, validation = patient_split(patients, y, validation_share=share, seed=seed)
    assert sorted([*training, *validation]) == list(range(len(patients)))
    assert not {patients[i] for i in training} & {patients[i] for i in validation} - {""}


@given(sites(), st.floats(0.0, 0.9), st.integers(0, 5))
def test_every_label_that_the_site_has_is_trained_on(site, share: float, seed: int) -> None:
    patients, y = site
    training, _ = patient_split(patients, y, validation_share=share, seed=seed)
    assert len(training)
    assert np.array_equal(y[training].any(axis=0), y.any(axis=0))


def long_tail(records: int = 600) -> tuple[list[str], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    patients = [f"p{rng.integers(records // 2)}" for _ in range(records)]
    chance = 0.6 / np.arange(1, 31) ** 1.3
    return patients, rng.random((records, 30)) < chance


def test_the_share_is_met_and_rare_labels_stay_in_training() -> None:
    patients, y = long_tail()
    training, validation = patient_split(patients, y, validation_share=0.1, seed=1)
    assert 0.08 * len(y) <= len(validation) <= 0.1 * len(y)
    totals, held = y.sum(axis=0), y[validation].sum(axis=0)
    assert (held <= totals / 2).all()
    common = totals >= 40
    assert (held[common] > 0).all()
    assert y[training].sum(axis=0)[(totals > 0) & (totals < 4)].min() >= 1


def test_equal_seeds_give_equal_splits_and_others_do_not() -> None:
    patients, y = long_tail()
    first = patient_split(patients, y, validation_share=0.2, seed=1)
    again = patient_split(patients, y, validation_share=0.2, seed=1)
    other = patient_split(patients, y, validation_share=0.2, seed=2)
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(first[0], np.sort(first[0]))


def test_a_very_small_site_still_gets_a_validation_record() -> None:
    y = np.ones((5, 1), dtype=np.bool_)
    _, validation = patient_split(list("abcde"), y, validation_share=0.1, seed=0)
    assert len(validation) == 1


def test_one_patient_is_trained_on() -> None:
    training, validation = patient_split(
        ["a", "a"], np.ones((2, 2), dtype=np.bool_), validation_share=0.5, seed=0
    )
    assert list(training) == [0, 1]
    assert len(validation) == 0


@pytest.mark.parametrize(("patients", "share"), [(["a"], 0.1), (["a", "b"], 1.0)], ids=["lengths", "share"])
def test_wrong_arguments_are_refused(patients: list[str], share: float) -> None:
    with pytest.raises(ValueError):
        patient_split(patients, np.ones((2, 1), dtype=np.bool_), validation_share=share, seed=0)
