"""F1 and PR-AUC against scikit-learn and against numbers derived by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from emr_fl_shared.errors import DataError
from emr_fl_shared.metrics import (
    Decision,
    brier_per_label,
    brier_score,
    group_f1,
    labels_absent,
    macro_f1,
    micro_f1,
    per_label_f1,
    pr_auc_macro,
    pr_auc_per_label,
    precision_recall_per_label,
    relative_drop,
    score_set,
    subset_accuracy,
    weighted_f1,
)


def random_set(seed: int, n: int, k: int, density: float, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.random((n, k)) < density
    p = generator.random((n, k))
    return y, np.round(p, 1) if ties else p


CASES = [
    pytest.param(0, 400, 50, 0.03, False, id="rare labels"),
    pytest.param(1, 30, 50, 0.02, False, id="most labels absent"),
    pytest.param(2, 200, 7, 0.4, True, id="tied probabilities"),
    pytest.param(3, 1, 5, 0.5, False, id="one record"),
    pytest.param(4, 60, 1, 0.5, True, id="one label"),
    pytest.param(5, 50, 6, 1.0, False, id="everything true"),
    pytest.param(6, 40, 3, 0.0, False, id="nothing true"),
    pytest.param(7, 1, 1, 1.0, True, id="one record of one label"),
]


@pytest.mark.parametrize(("seed", "n", "k", "density", "ties"), CASES)
def test_agrees_with_scikit_learn(seed: int, n: int, k: int, density: float, ties: bool) -> None:
    y, p = random_set(seed, n, k, density, ties)
    predicted = p >= 0.6
    present = np.flatnonzero(y.any(axis=0))
    expected_f1 = oracle.f1_score(y, predicted, average=None, zero_division=0)
    if k == 1:  # scikit-learn reads one column as a binary problem and returns both classes
        expected_f1 = np.array([oracle.f1_score(y[:, 0], predicted[:, 0], zero_division=0)])
    np.testing.assert_allclose(per_label_f1(y, predicted)[present], expected_f1[present], atol=1e-9)
    expected_macro = expected_f1[present].mean() if present.size else 0.0
    assert macro_f1(y, predicted) == pytest.approx(expected_macro, abs=1e-9)
    flat = oracle.f1_score(y.ravel(), predicted.ravel(), zero_division=0)
    assert micro_f1(y, predicted) == pytest.approx(flat, abs=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        areas = [oracle.average_precision_score(y[:, i], p[:, i]) for i in present]
    assert pr_auc_macro(y, p) == pytest.approx(np.mean(areas) if areas else 0.0, abs=1e-9)
    support = y.sum(axis=0)
    expected = (expected_f1 * support).sum() / support.sum() if support.any() else 0.0
    assert weighted_f1(y, predicted) == pytest.approx(expected, abs=1e-9)
    if k > 1:
        weighted = oracle.f1_score(y, predicted, average="weighted", zero_division=0)
        assert weighted_f1(y, predicted) == pytest.approx(weighted, abs=1e-9)
    assert subset_accuracy(y, predicted) == pytest.approx(oracle.accuracy_score(y, predicted), abs=1e-9)
    assert brier_score(y, p) == pytest.approx(oracle.mean_squared_error(y.ravel(), p.ravel()), abs=1e-9)
    each = brier_per_label(y, p)
    precision, recall = precision_recall_per_label(y, predicted)
    for label in range(k):
        brier = oracle.brier_score_loss(y[:, label], p[:, label], pos_label=True, labels=[False, True])
        assert each[label] == pytest.approx(brier, abs=1e-9)
        truth, decided = y[:, label], predicted[:, label]
        assert precision[label] == pytest.approx(
            oracle.precision_score(truth, decided, zero_division=0), abs=1e-9
        )
        assert recall[label] == pytest.approx(oracle.recall_score(truth, decided, zero_division=0), abs=1e-9)


def test_by_hand() -> None:
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    predicted = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=bool)
    # label 0: tp 1, fp 1, fn 1 → ½; label 1: tp 2 → 1; label 2 never occurs → left out
    np.testing.assert_allclose(per_label_f1(y, predicted), [0.5, 1.0, np.nan])
    assert macro_f1(y, predicted) == pytest.approx(0.75)
    # tp 3, fp 2 (one of them on the absent label), fn 1
    assert micro_f1(y, predicted) == pytest.approx(6 / 9)
    assert labels_absent(y) == 1


def test_average_precision_by_hand() -> None:
    y = np.array([[1], [0], [1], [0]], dtype=bool)
    p = np.array([[0.9], [0.8], [0.7], [0.1]])
    assert pr_auc_macro(y, p) == pytest.approx((1.0 + 2 / 3) / 2)


def test_no_positive_at_all_scores_zero() -> None:
    y = np.zeros((4, 3), dtype=bool)
    p = np.full((4, 3), 0.2)
    scores = score_set(y, p, Decision())
    assert scores == {
        "n": 4,
        "macro_f1": 0.0,
        "micro_f1": 0.0,
        "weighted_f1": 0.0,
        "head_f1": 0.0,
        "middle_f1": 0.0,
        "tail_f1": 0.0,
        "subset_accuracy": 1.0,  # nothing to find, nothing given
        "pr_auc_macro": 0.0,
        "ece": pytest.approx(0.2),
        "ece_mass": pytest.approx(0.2),
        "ece_labelwise": 0.0,
        "ece_labelwise_mass": 0.0,
        "brier": pytest.approx(0.04),
        "labels_absent": 3,
    }
    assert np.isnan(per_label_f1(y, p > 0.5)).all() and np.isnan(pr_auc_per_label(y, p)).all()


def test_score_set_uses_the_decision() -> None:
    y = np.array([[True, False], [False, True]])
    p = np.array([[0.3, 0.1], [0.25, 0.4]])
    assert score_set(y, p, Decision("threshold", 0.5))["macro_f1"] == 0.0
    assert score_set(y, p, Decision("threshold", 0.28))["macro_f1"] == 1.0
    assert score_set(y, p, Decision("argmax"))["micro_f1"] == 1.0


def test_frequent_and_rare_labels_by_hand() -> None:
    y = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 0]], dtype=bool)  # head, middle, tail by frequency
    predicted = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=bool)
    assert group_f1(y, predicted) == pytest.approx({"head": 6 / 7, "middle": 2 / 3, "tail": 0.0})
    assert weighted_f1(y, predicted) == pytest.approx((4 * 6 / 7 + 2 * 2 / 3) / 7)
    assert subset_accuracy(y, predicted) == 0.25


@pytest.mark.parametrize(
    ("y", "p", "word"),
    [
        pytest.param([[True]], [[np.nan]], "NaN", id="nan"),
        pytest.param([[True]], [[np.inf]], "NaN", id="infinite"),
        pytest.param([[True]], [[1.5]], "outside", id="not a probability"),
        pytest.param([[True]], [[0.5, 0.5]], "shape", id="shapes differ"),
        pytest.param([[2]], [[0.5]], "0 or 1", id="counts as labels"),
        pytest.param([True], [0.5], "matrix", id="one-dimensional"),
        pytest.param(np.zeros((0, 3), bool), np.zeros((0, 3)), "nothing to score", id="no record"),
    ],
)
def test_refuses(y: object, p: object, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")
    with pytest.raises(DataError, match=word):
        score_set(y, p, Decision())  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 8), st.floats(0.0, 1.0))
def test_scores_are_fractions_and_do_not_depend_on_order(seed: int, n: int, k: int, density: float) -> None:
    y, p = random_set(seed, n, k, density, ties=True)
    scores = score_set(y, p, Decision("threshold", 0.4))
    assert all(0.0 <= score <= 1.0 for name, score in scores.items() if name not in ("n", "labels_absent"))
    order = np.random.default_rng(seed).permutation(n)
    shuffled = score_set(y[order], p[order], Decision("threshold", 0.4))
    assert shuffled == pytest.approx(scores, abs=1e-12)
    if y.any():
        assert macro_f1(y, y) == 1.0 and micro_f1(y, y) == 1.0


@pytest.mark.parametrize(
    ("standard", "other", "expected"), [(0.8, 0.6, 0.25), (0.5, 0.6, -0.2), (0.0, 0.3, None)]
)
def test_relative_drop(standard: float, other: float, expected: float | None) -> None:
    drop = relative_drop(standard, other)
    assert drop is None if expected is None else drop == pytest.approx(expected)
