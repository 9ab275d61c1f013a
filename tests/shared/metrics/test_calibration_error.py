"""ECE against hand-made examples and a slow loop over the definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.metrics import ece_labelwise, ece_per_label, ece_top_label, reliability_bins


def slow_ece(confidence: list[float], right: list[bool], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [
            i for i, c in enumerate(confidence) if (b / bins < c <= (b + 1) / bins) or (b == 0 and c == 0.0)
        ]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


def test_by_hand() -> None:
    y = np.array([[1, 0], [0, 1], [1, 1], [0, 1]], dtype=bool)
    p = np.array([[0.95, 0.2], [0.92, 0.3], [0.1, 0.55], [0.2, 0.1]])
    # (.9, 1]: .95 right, .92 wrong → |.5 − .935| · 2/4;  (.5, .6]: .55 right → .45 · 1/4;  (.1, .2]: .2 wrong → .2 · 1/4
    assert ece_top_label(y, p) == pytest.approx(0.435 / 2 + 0.45 / 4 + 0.2 / 4)


def test_a_second_true_label_counts_as_right() -> None:
    y = np.array([[True, True, False]])
    assert ece_top_label(y, [[0.2, 0.8, 0.1]]) == pytest.approx(0.2)
    assert ece_top_label(y, [[0.2, 0.1, 0.8]]) == pytest.approx(0.8)


def test_labelwise_by_hand() -> None:
    y = np.array([[1, 0, 0], [0, 0, 0]], dtype=bool)
    p = np.array([[0.7, 0.9, 0.0], [0.4, 0.9, 0.0]])
    # only label 0 occurs: bins (.6, .7] and (.3, .4] hold one record each
    assert ece_labelwise(y, p) == pytest.approx((0.3 + 0.4) / 2)


def test_constant_base_rate_hides_in_the_labelwise_error_only() -> None:
    generator = np.random.default_rng(3)
    y = np.zeros((5000, 50), dtype=bool)
    y[np.arange(5000), generator.integers(0, 50, 5000)] = True
    p = np.tile(y.mean(axis=0), (5000, 1))
    assert ece_labelwise(y, p) < 1e-9
    y_skewed = y.copy()
    y_skewed[:, 7] = generator.random(5000) < 0.4
    assert ece_top_label(y_skewed, np.full((5000, 50), 0.5)) > 0.4


@pytest.mark.parametrize(
    ("confidence", "index"), [(0.0, 0), (0.1, 0), (0.3, 2), (0.30000001, 3), (0.6, 5), (0.7, 6), (1.0, 9)]
)
def test_bin_edges_belong_to_the_lower_bin(confidence: float, index: int) -> None:
    bins = reliability_bins([[True]], [[confidence]])
    assert [i for i, b in enumerate(bins) if b["n"]] == [index]
    assert bins[index]["confidence"] == pytest.approx(confidence) and bins[index]["accuracy"] == 1.0


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 6), st.sampled_from([5, 10, 15]))
def test_agrees_with_the_definition(seed: int, n: int, k: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    y, p = generator.random((n, k)) < 0.4, np.round(generator.random((n, k)), 2)
    top = p.argmax(axis=1)
    confidence, right = p[np.arange(n), top].tolist(), y[np.arange(n), top].tolist()
    assert ece_top_label(y, p, bins=bins) == pytest.approx(slow_ece(confidence, right, bins), abs=1e-9)
    present = [c for c in range(k) if y[:, c].any()]
    slow = [slow_ece(p[:, c].tolist(), y[:, c].tolist(), bins) for c in present]
    assert ece_labelwise(y, p, bins=bins) == pytest.approx(np.mean(slow) if slow else 0.0, abs=1e-9)
    table = reliability_bins(y, p, bins=bins)
    assert sum(int(b["n"] or 0) for b in table) == n
    from_table = sum(
        int(b["n"] or 0) / n * abs(float(b["accuracy"] or 0) - float(b["confidence"] or 0)) for b in table
    )
    assert from_table == pytest.approx(ece_top_label(y, p, bins=bins), abs=1e-9)


def slow_mass_ece(confidence: list[float], right: list[bool], bins: int) -> float:
    """As many records in each bin as can be; equal confidences stay together, in the bin that the first of them reached."""
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    ends = sorted({confidence[order[math.ceil(b * len(order) / bins) - 1]] for b in range(1, bins)})
    edges = [-1.0, *ends, 2.0]
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        total += abs(sum(right[i] for i in inside) - sum(confidence[i] for i in inside))
    return total / len(confidence)


def test_equal_mass_by_hand() -> None:
    y = np.array([[1], [0], [1], [1]], dtype=bool)
    p = np.array([[0.91], [0.92], [0.93], [0.94]])
    # all in one bin of equal width: |3 - 3.7| / 4; two bins of equal mass: (|1 - 1.83| + |2 - 1.87|) / 4
    assert ece_top_label(y, p) == pytest.approx(0.7 / 4)
    assert ece_top_label(y, p, bins=2, binning="mass") == pytest.approx((0.83 + 0.13) / 4)


def test_bins_of_equal_mass_keep_equal_confidences_together() -> None:
    y = np.array([[1], [0]] * 6, dtype=bool)
    p = np.full((12, 1), 0.5)
    # parted by their order, single records would count as errors of .5
    assert ece_top_label(y, p, binning="mass") == 0.0
    assert ece_top_label([[True]], [[0.2]], binning="mass") == pytest.approx(0.8)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 6), st.sampled_from([2, 5, 10]))
def test_equal_mass_agrees_with_the_definition(seed: int, n: int, k: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    y, p = generator.random((n, k)) < 0.4, np.round(generator.random((n, k)), 1)
    slow = [
        slow_mass_ece(p[:, c].tolist(), y[:, c].tolist(), bins) if y[:, c].any() else np.nan for c in range(k)
    ]
    found = ece_per_label(y, p, bins=bins, binning="mass")
    np.testing.assert_allclose(found, slow, atol=1e-9)
    assert ece_labelwise(y, p, bins=bins, binning="mass") == pytest.approx(
        np.nanmean(slow) if y.any() else 0.0, abs=1e-9
    )
