"""Class-balanced sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_client.dataset.sampling import balanced_weights, draw_epoch, effective_count


def test_a_record_weighs_what_its_rarest_label_weighs() -> None:
    # label 0 four times, label 1 once: n^-0.5 is 1/2 and 1; the record without a label counts as the commonest
    y = np.array([[1, 0], [1, 0], [1, 0], [1, 1], [0, 0]], dtype=np.bool_)
    np.testing.assert_allclose(balanced_weights(y), np.array([0.5, 0.5, 0.5, 1.0, 0.5]) / 3.0)


def test_single_labels_are_drawn_in_proportion_to_the_root_of_their_count() -> None:
    y = np.zeros((110, 3), dtype=np.bool_)
    y[:100, 0] = True
    y[100:109, 1] = True
    y[109:, 2] = True
    mass = balanced_weights(y) @ y
    np.testing.assert_allclose(mass, np.array([10.0, 3.0, 1.0]) / 14.0)


@pytest.mark.parametrize(("exponent", "expected"), [(0.0, [0.75, 0.25]), (1.0, [0.5, 0.5])])
def test_the_exponent_runs_from_as_they_are_to_all_equal(exponent: float, expected: list[float]) -> None:
    y = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.bool_)
    np.testing.assert_allclose(balanced_weights(y, exponent) @ y, expected)


def test_counts_of_the_federation_take_the_place_of_the_sites_own() -> None:
    # here both labels are equally common; elsewhere label 0 has 14 more, and of label 1 nobody told
    y = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.bool_)
    weights = balanced_weights(y, 0.5, np.array([16, 0]))
    expected = np.array([16**-0.5, 16**-0.5, 2**-0.5, 2**-0.5])
    np.testing.assert_allclose(weights, expected / expected.sum())
    own = balanced_weights(y, 0.5, y.sum(axis=0))
    np.testing.assert_array_equal(own, balanced_weights(y, 0.5))


def test_a_label_that_only_others_have_changes_nothing() -> None:
    y = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.bool_)
    np.testing.assert_array_equal(
        balanced_weights(y, 1.0, np.array([2, 1, 50])), balanced_weights(y, 1.0, np.array([2, 1, 0]))
    )


def test_effective_count_by_hand() -> None:
    # β = ½: (1 − ½^n) / ½ = 2 (1 − ½^n): 0, 1, 1.5, nearly 2
    assert effective_count(np.array([0, 1, 2, 60]), 0.5) == pytest.approx(4.5)
    counts = np.array([0, 3, 7])
    assert effective_count(counts, 0.0) == 2.0
    assert effective_count(counts, 1 - 1e-9) == pytest.approx(10.0, abs=1e-5)


def test_records_without_any_label_are_drawn_evenly() -> None:
    np.testing.assert_allclose(balanced_weights(np.zeros((4, 2), dtype=np.bool_)), 0.25)
    assert len(balanced_weights(np.zeros((0, 2), dtype=np.bool_))) == 0


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=50), st.integers(1, 200), st.integers(0, 3))
def test_a_systematic_draw_is_within_one_of_its_expectation(values, size: int, seed: int) -> None:
    weights = np.array(values) / sum(values)
    drawn = draw_epoch(weights, size, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=len(weights))
    assert counts.sum() == size
    assert (np.abs(counts - size * weights) < 1 + 1e-6).all()


@pytest.mark.parametrize("systematic", [True, False])
def test_draws_are_unbiased_and_in_random_order(systematic: bool) -> None:
    weights = np.array([0.5, 0.2, 0.2, 0.07, 0.03])
    generator = np.random.default_rng(0)
    draws = np.array([draw_epoch(weights, 7, generator, systematic=systematic) for _ in range(4000)])
    for position in (0, 3, 6):
        share = np.bincount(draws[:, position], minlength=5) / len(draws)
        np.testing.assert_allclose(share, weights, atol=0.025)


def test_nothing_drawn_from_nothing() -> None:
    assert len(draw_epoch(np.zeros(0), 0, np.random.default_rng(0))) == 0
