"""Thresholds a label: by hand, against brute force, in the limits, and fitted on nothing but what is given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.errors import DataError
from emr_fl_shared.metrics import (
    THRESHOLDS,
    Decision,
    best_threshold,
    fit_decision,
    label_thresholds,
    per_label_f1,
    sigmoid,
)


def noisy(seed: int, n: int = 60, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    z = generator.normal(-1.0, 1.5, (n, k)) + np.linspace(-2.0, 1.0, k)
    return z, generator.random((n, k)) < sigmoid(z)


def test_by_hand() -> None:
    # label 0: best in (.2, .3], nearest to .6 is .300; label 1: best in (.8, .9], nearest is .801; label 2 never occurs
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    p = np.array([[0.3, 0.8, 0.1], [0.7, 0.9, 0.9], [0.2, 0.1, 0.1]])
    assert label_thresholds(y, p, 0.6, shrinkage=0.0) == pytest.approx((0.3, 0.801, 0.6))
    # n = (2, 1), s = 2: ½·.300 + ½·.6; ⅓·.801 + ⅔·.6
    assert label_thresholds(y, p, 0.6, shrinkage=2.0) == pytest.approx((0.45, 0.667, 0.6))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.01, 0.99))
def test_without_shrinkage_each_is_the_best_of_its_label(seed: int, n: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    y, p = generator.random((n, 3)) < 0.3, np.round(generator.random((n, 3)), 2)
    found = label_thresholds(y, p, threshold, shrinkage=0.0)
    scores = np.array([per_label_f1(y, p >= t) for t in THRESHOLDS])
    for label in range(3):
        if not y[:, label].any():
            assert found[label] == threshold
            continue
        equal = THRESHOLDS[scores[:, label] >= scores[:, label].max() - 1e-12]
        assert np.abs(equal - found[label]).min() < 1e-12
        assert abs(found[label] - threshold) == pytest.approx(np.abs(equal - threshold).min(), abs=1e-9)


@pytest.mark.parametrize("shrinkage", [math.inf, 1e15])
def test_with_endless_shrinkage_all_are_the_global_one(shrinkage: float) -> None:
    z, y = noisy(0)
    p = sigmoid(z)
    threshold = best_threshold(y, p)
    found = label_thresholds(y, p, threshold, shrinkage=shrinkage)
    assert found == pytest.approx((threshold,) * 4, abs=1e-12)
    one, many = Decision(threshold=threshold), Decision(threshold=threshold, thresholds=found)
    np.testing.assert_array_equal(one.decide(p), many.decide(p))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 50.0), st.floats(0.0, 50.0))
def test_more_shrinkage_never_leads_away_from_the_global_one(seed: int, less: float, more: float) -> None:
    z, y = noisy(seed)
    less, more = sorted((less, more))
    near, far = (np.array(label_thresholds(y, sigmoid(z), 0.4, shrinkage=s)) for s in (more, less))
    assert (np.abs(near - 0.4) <= np.abs(far - 0.4) + 1e-12).all()


def test_a_rare_label_is_shrunk_more_than_a_common_one() -> None:
    y, p = np.zeros((100, 2), dtype=bool), np.full((100, 2), 0.05)
    y[:40, 0], p[:40, 0] = True, 0.2
    y[:2, 1], p[:2, 1] = True, 0.2
    common, rare = label_thresholds(y, p, 0.5, shrinkage=10.0)
    # own threshold .2 for both: weights 40/50 and 2/12
    assert (common, rare) == pytest.approx((0.8 * 0.2 + 0.2 * 0.5, 2 / 12 * 0.2 + 10 / 12 * 0.5))


def test_the_decision_is_fitted_on_what_is_given_and_nothing_else() -> None:
    z, y = noisy(1)
    first = fit_decision(z, y, single_label=False, shrinkage=3.0)
    fit_decision(*noisy(2), single_label=False, shrinkage=3.0)  # another set in between leaves no trace
    assert fit_decision(z.copy(), y.copy(), single_label=False, shrinkage=3.0) == first
    p = sigmoid(z / first.temperature)
    assert first.thresholds == label_thresholds(y, p, first.threshold, shrinkage=3.0)
    other = z.copy()
    other[:, 3] = -z[
        :, 3
    ]  # the last label's logits are wrong: its own threshold moves at a given temperature
    assert (
        label_thresholds(y, sigmoid(other), 0.4, shrinkage=0.0)[:3]
        == label_thresholds(y, sigmoid(z), 0.4, shrinkage=0.0)[:3]
    )


def test_without_shrinkage_nothing_is_different() -> None:
    z, y = noisy(3)
    plain = fit_decision(z, y, single_label=False)
    assert plain.thresholds == ()
    assert set(plain.to_json()) == {"kind", "threshold", "temperature"}
    shrunk = fit_decision(z, y, single_label=False, shrinkage=5.0)
    assert (shrunk.threshold, shrunk.temperature) == (plain.threshold, plain.temperature)


def test_with_one_label_a_record_there_are_no_thresholds() -> None:
    z, _ = noisy(4)
    y = np.eye(4, dtype=bool)[z.argmax(axis=1)]
    assert fit_decision(z, y, single_label=True, shrinkage=1.0).thresholds == ()


def test_thresholds_survive_json_and_decide_by_column() -> None:
    decision = Decision(threshold=0.5, temperature=2.0, thresholds=(0.2, 0.7))
    assert Decision.from_json(decision.to_json()) == decision
    np.testing.assert_array_equal(decision.decide([[0.2, 0.6], [0.1, 0.7]]), [[True, False], [False, True]])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"thresholds": 0.5}, id="no list"),
        pytest.param({"thresholds": [0.5, "0.5"]}, id="text"),
        pytest.param({"thresholds": [0.5, True]}, id="truth value"),
        pytest.param({"thresholds": [0.5, 1.0]}, id="one"),
        pytest.param({"thresholds": [float("nan")]}, id="nan"),
        pytest.param({"thresholds": [0.5], "kind": "argmax"}, id="argmax"),
    ],
)
def test_refuses_damaged_thresholds(change: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Decision.from_json(Decision().to_json() | change)


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(DataError, match="as many thresholds"):
        Decision(thresholds=(0.5, 0.5)).decide([[0.1, 0.2, 0.3]])


def test_negative_shrinkage_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        label_thresholds([[True]], [[0.5]], 0.5, shrinkage=-1.0)
