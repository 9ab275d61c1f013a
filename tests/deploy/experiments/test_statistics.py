"""Figures over seeds against numbers derived by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emr_fl_deploy.experiments.statistics import paired_difference, paired_ratio, spread


def test_spread_by_hand() -> None:
    """1, 2, 3: mean 2, sd 1; t(.975, 2) = 4.3027, so ± 4.3027 / √3 = 2.4841."""
    found = spread([1.0, 2.0, 3.0])
    assert (found["n"], found["mean"], found["sd"]) == (3, 2.0, 1.0)
    assert found["low"] == pytest.approx(2 - 2.4841, abs=1e-4)
    assert found["high"] == pytest.approx(2 + 2.4841, abs=1e-4)


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    assert spread([0.4]) == {"n": 1, "mean": 0.4, "sd": None, "low": None, "high": None}
    assert spread([])["mean"] is None and spread([])["n"] == 0


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = spread(values)
    error = stats.sem(values)
    if error == 0:
        assert found["low"] == found["high"] == found["mean"]
        return
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))


def test_pairs_are_of_the_same_seed_only() -> None:
    found = paired_difference({0: 0.5, 1: 0.7, 7: 0.9}, {1: 0.6, 0: 0.45, 3: 0.1})
    assert found["n"] == 2
    assert found["mean"] == pytest.approx((0.05 + 0.1) / 2)


def test_ratios_are_geometric_and_do_not_depend_on_which_is_the_reference() -> None:
    one, other = {0: 2.0, 1: 8.0}, {0: 1.0, 1: 2.0}
    found, turned = paired_ratio(one, other), paired_ratio(other, one)
    assert found["mean"] == pytest.approx(math.sqrt(2 * 4))
    assert turned["mean"] == pytest.approx(1 / found["mean"])
    assert turned["low"] == pytest.approx(1 / found["high"])
    assert paired_ratio({0: 0.0}, {0: 1.0})["mean"] is None


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    trials = [spread(list(draw.normal(0.4, 0.02, 5))) for _ in range(1000)]
    covered = sum(found["low"] <= 0.4 <= found["high"] for found in trials)
    assert 930 <= covered <= 968
