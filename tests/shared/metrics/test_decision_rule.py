"""Temperature, global threshold and the decision, against brute force."""

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
    fit_temperature,
    macro_f1,
    sigmoid,
)


def bce(z: np.ndarray, y: np.ndarray, temperature: float) -> float:
    scaled = z / temperature
    return float((np.logaddexp(0.0, scaled) - y * scaled).mean())


def overconfident(seed: int, n: int = 400, k: int = 12, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits `scale` times too large for the truth that was drawn from them."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-1.5, 1.5, (n, k))
    return scale * z, generator.random((n, k)) < sigmoid(z)


def test_temperature_finds_the_known_scale() -> None:
    z, y = overconfident(0, n=4000)
    assert fit_temperature(z, y) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
def test_temperature_is_the_minimum(scale: float) -> None:
    z, y = overconfident(1, scale=scale)
    best = fit_temperature(z, y)
    grid = np.geomspace(0.05, 20.0, 400)
    assert bce(z, y, best) <= min(bce(z, y, t) for t in grid) + 1e-12
    assert bce(z, y, best) < bce(z, y, best * 1.001) and bce(z, y, best) < bce(z, y, best / 1.001)


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 0.05), (-1.0, 20.0)])
def test_temperature_stays_in_bounds(sign: float, expected: float) -> None:
    y = np.array([[True, False], [False, True]])
    z = sign * np.where(y, 2.0, -2.0)  # separated perfectly, or perfectly wrong
    assert fit_temperature(z, y) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_threshold_is_the_best_on_the_grid_and_nearest_to_half(seed: int, n: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    y, p = generator.random((n, k)) < 0.3, np.round(generator.random((n, k)), 2)
    if not y.any():
        assert best_threshold(y, p) == 0.5
        return
    scores = np.array([macro_f1(y, p >= t) for t in THRESHOLDS])
    found = best_threshold(y, p)
    equal = THRESHOLDS[scores >= scores.max() - 1e-12]
    assert found in equal
    assert abs(found - 0.5) == pytest.approx(np.abs(equal - 0.5).min())


def test_tie_below_and_above_takes_the_lower() -> None:
    # every threshold in (.3, .7] gives a perfect score: nearest to .5 is .5; without (.45, .55) the lower side wins
    assert best_threshold([[True, False]], [[0.7, 0.3]]) == 0.5
    y, p = [[True], [False], [True]], [[0.45], [0.5], [0.6]]
    scores = {t: macro_f1(np.array(y), np.array(p) >= t) for t in (0.45, 0.501, 0.55)}
    assert scores[0.45] > scores[0.501]
    assert best_threshold(y, p) == 0.45


def test_fit_decision_raises_macro_f1_of_an_unbalanced_model() -> None:
    z, y = overconfident(2, scale=1.0)
    z -= 2.5  # probabilities far too low for .5
    decision = fit_decision(z, y, single_label=False)
    assert decision.kind == "threshold" and decision.threshold < 0.5
    p = decision.probabilities(z)
    tuned, plain = macro_f1(y, decision.decide(p)), macro_f1(y, Decision().decide(sigmoid(z)))
    assert tuned > plain + 0.2


def test_fit_decision_single_label_takes_the_most_probable() -> None:
    z, _ = overconfident(3)
    y = np.zeros(z.shape, dtype=bool)
    y[np.arange(len(z)), z.argmax(axis=1)] = True
    decision = fit_decision(z, y, single_label=True)
    assert (decision.kind, decision.threshold) == ("argmax", 0.5)
    decided = decision.decide(decision.probabilities(z))
    np.testing.assert_array_equal(decided.sum(axis=1), 1)
    assert macro_f1(y, decided) == 1.0


def test_argmax_takes_the_first_of_equals() -> None:
    np.testing.assert_array_equal(Decision("argmax").decide([[0.0, 0.4, 0.4]]), [[False, True, False]])


def test_nothing_to_fit() -> None:
    assert fit_decision(np.ones((3, 2)), np.zeros((3, 2), bool), single_label=False) == Decision()


def test_probabilities_at_temperature_and_extreme_logits() -> None:
    decision = Decision(temperature=2.0)
    assert decision.probabilities([[2.0]])[0, 0] == pytest.approx(1 / (1 + math.exp(-1.0)))
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(decision.probabilities([[-1e5, 1e5, 0.0]]), [[0.0, 1.0, 0.5]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_logits_that_are_not_numbers(bad: float) -> None:
    with pytest.raises(DataError):
        Decision().probabilities([[bad]])
    with pytest.raises(DataError):
        fit_decision([[bad]], [[True]], single_label=False)


def test_json_round_trip() -> None:
    decision = Decision("argmax", 0.31, 1.7)
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kind": "softmax"}, id="unknown kind"),
        pytest.param({"threshold": 0.0}, id="threshold 0"),
        pytest.param({"threshold": float("nan")}, id="threshold nan"),
        pytest.param({"threshold": "0.5"}, id="text"),
        pytest.param({"threshold": True}, id="truth value"),
        pytest.param({"temperature": -1.0}, id="negative temperature"),
        pytest.param({"temperature": float("inf")}, id="infinite temperature"),
        pytest.param({"extra": 1}, id="unknown field"),
    ],
)
def test_refuses_a_damaged_decision(change: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Decision.from_json(Decision().to_json() | change)
