"""From logits to labels: one temperature and one global rule, or a threshold a label that is shrunk towards it.

Everything is fitted on validation data only. Thresholds a label that are fitted raw overfit the rare labels: they are never used so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics.arrays import (
    BoolArray,
    FloatArray,
    check_same_shape,
    finite_matrix,
    paired,
    probability_matrix,
    truth_matrix,
)
from emr_fl_shared.metrics.classification import f1_from_counts

THRESHOLDS = np.arange(1, 1000) / 1000
"""Candidates for the global threshold: .001 … .999."""

TEMPERATURES = (0.05, 20.0)
"""Bounds of the temperature: data that a model separates perfectly would send it to 0."""

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Decision:
    """How probabilities come from logits and labels from probabilities.

    `kind` "threshold": every label whose probability reaches `threshold`, perhaps none; "argmax": exactly the most
    probable label (the first of equals). Probabilities are sigmoids of logits / `temperature` in both. `thresholds`, where there
    are any, has one for each of the K labels, and they take the place of `threshold`.
    """

    kind: Literal["threshold", "argmax"] = "threshold"
    threshold: float = DEFAULT_THRESHOLD
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("threshold", "argmax"):
            raise DataError(
                tr("unknown kind of decision", "未知的决策方式"),
                got=repr(self.kind),
                expected="threshold | argmax",
            )
        for threshold in (self.threshold, *self.thresholds):
            if not 0.0 < threshold < 1.0:
                raise DataError(
                    tr("threshold out of range", "阈值超出范围"),
                    got=f"{threshold}",
                    expected="0 < threshold < 1",
                )
        if self.thresholds and self.kind != "threshold":
            raise DataError(
                tr("argmax has no thresholds", "argmax 方式没有阈值"), got=f"{len(self.thresholds)}"
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise DataError(
                tr("temperature out of range", "温度超出范围"), got=f"{self.temperature}", expected="> 0"
            )

    def probabilities(self, logits: ArrayLike) -> FloatArray:
        """Sigmoids of logits / temperature, float64 [n, K]. Raises DataError for logits that are not finite."""
        return sigmoid(finite_matrix(logits, where="logits") / self.temperature)

    def decide(self, p: ArrayLike) -> BoolArray:
        """The labels given, bool [n, K], for probabilities float [n, K]. Raises DataError if there are other than K thresholds."""
        probabilities = probability_matrix(p)
        if self.kind == "argmax":
            decided: BoolArray = np.zeros(probabilities.shape, dtype=np.bool_)
            decided[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
            return decided
        if not self.thresholds:
            return np.asarray(probabilities >= self.threshold, dtype=np.bool_)
        if len(self.thresholds) != probabilities.shape[1]:
            raise DataError(
                tr("as many thresholds as labels are needed", "阈值数与标签数不符"),
                got=str(len(self.thresholds)),
                expected=str(probabilities.shape[1]),
            )
        return np.asarray(probabilities >= np.array(self.thresholds), dtype=np.bool_)

    def to_json(self) -> dict[str, Any]:
        """As it stands in `thresholds.json` of a saved model; `thresholds` only where there are any."""
        data: dict[str, Any] = {
            "kind": self.kind,
            "threshold": self.threshold,
            "temperature": self.temperature,
        }
        return data | {"thresholds": list(self.thresholds)} if self.thresholds else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decision:
        """The inverse of `to_json`. Raises DataError when a field is missing, unknown or of the wrong type."""
        fields = {"kind", "threshold", "temperature"}
        if set(data) - {"thresholds"} != fields:
            raise DataError(
                tr("a decision has other fields", "决策文件的字段不符"),
                got=", ".join(sorted(map(str, data))),
                expected=", ".join(sorted(fields)) + " (, thresholds)",
            )
        threshold, temperature = data["threshold"], data["temperature"]
        thresholds = data.get("thresholds", [])
        if not isinstance(thresholds, list):
            raise DataError(tr("thresholds are a list", "thresholds 应为列表"), got=type(thresholds).__name__)
        for value in (threshold, temperature, *thresholds):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(
                    tr("a decision needs numbers", "决策参数必须是数字"), got=type(value).__name__
                )
        return cls(data["kind"], float(threshold), float(temperature), tuple(map(float, thresholds)))


def fit_decision(
    logits: ArrayLike, y: ArrayLike, *, single_label: bool, shrinkage: float | None = None
) -> Decision:
    """Temperature and rule from validation logits float [n, K] and truth bool [n, K].

    Temperature minimises the binary cross-entropy over all (record, label) pairs; the threshold, on probabilities at
    that temperature, maximises macro-F1; with `shrinkage`, each label gets its own, shrunk towards it (`label_thresholds`).
    With `single_label` the rule is argmax and the threshold stays at .5. Without a single positive nothing can be fitted:
    temperature 1, threshold .5.
    """
    values, truth = finite_matrix(logits, where="logits"), truth_matrix(y)
    check_same_shape(truth, values)
    kind: Literal["threshold", "argmax"] = "argmax" if single_label else "threshold"
    if not truth.any():
        return Decision(kind)
    temperature = fit_temperature(values, truth)
    if single_label:
        return Decision(kind, DEFAULT_THRESHOLD, temperature)
    probabilities = sigmoid(values / temperature)
    threshold = best_threshold(truth, probabilities)
    thresholds = (
        () if shrinkage is None else label_thresholds(truth, probabilities, threshold, shrinkage=shrinkage)
    )
    return Decision(kind, threshold, temperature, thresholds)


def fit_temperature(logits: ArrayLike, y: ArrayLike) -> float:
    """The T within `TEMPERATURES` that minimises the mean BCE of sigmoid(logits / T).

    The loss is convex in β = 1/T with derivative Σ z·(σ(βz) − y), which rises with β: its root is found by bisection
    on log β, to a relative 1e-9; outside the bounds, the bound.
    """
    z, truth = finite_matrix(logits, where="logits"), truth_matrix(y)
    check_same_shape(truth, z)
    low, high = -math.log(TEMPERATURES[1]), -math.log(TEMPERATURES[0])

    def slope(log_beta: float) -> float:
        return float((z * (sigmoid(math.exp(log_beta) * z) - truth)).sum())

    if slope(low) >= 0.0:
        return TEMPERATURES[1]
    if slope(high) <= 0.0:
        return TEMPERATURES[0]
    while high - low > 1e-9:
        middle = (low + high) / 2
        if slope(middle) > 0.0:
            high = middle
        else:
            low = middle
    return math.exp(-(low + high) / 2)


def best_threshold(y: ArrayLike, p: ArrayLike) -> float:
    """The value of `THRESHOLDS` with the highest macro-F1; among equals the one nearest to .5, then the lower one.

    Exact and quick for any number of candidates: each probability is placed among the candidates once, and counts per
    label are cumulated. Returns .5 when `y` has no positive.
    """
    truth, probabilities = paired(y, p)
    present = truth.any(axis=0)
    if not present.any():
        return DEFAULT_THRESHOLD
    tp, predicted = threshold_counts(truth[:, present], probabilities[:, present])
    positives = truth[:, present].sum(axis=0)
    scores = f1_from_counts(tp, predicted - tp, positives[None, :] - tp)
    return _best_near(scores.mean(axis=1), DEFAULT_THRESHOLD)


def label_thresholds(y: ArrayLike, p: ArrayLike, threshold: float, *, shrinkage: float) -> tuple[float, ...]:
    """One threshold a label, the more like the global `threshold` the rarer the label is in `y`: K numbers.

        t_k = (n_k · t*_k + s · t) / (n_k + s)

    t*_k: the value of `THRESHOLDS` with the highest F1 of label k, among equals the one nearest to t; n_k: positives of the label
    in `y`; s = `shrinkage`: how many positives a label needs so that its own threshold weighs as much as the global one. s = 0
    leaves t*_k as it is, s = ∞ leaves t. A label without a positive gets t. Raises ValueError for a negative `shrinkage`.
    """
    if not shrinkage >= 0.0:
        raise ValueError(f"shrinkage must not be negative, got {shrinkage}")
    truth, probabilities = paired(y, p)
    positives = truth.sum(axis=0)
    tp, predicted = threshold_counts(truth, probabilities)
    scores = f1_from_counts(tp, predicted - tp, positives[None, :] - tp)
    found = []
    for label, support in enumerate(positives):
        own = 0.0 if math.isinf(shrinkage) or not support else support / (support + shrinkage)
        best = _best_near(scores[:, label], threshold) if own else threshold
        found.append(float(own * best + (1.0 - own) * threshold))
    return tuple(found)


def _best_near(scores: FloatArray, wanted: float) -> float:
    """The value of `THRESHOLDS` with the highest score; among equals the one nearest to `wanted`, then the lower one."""
    candidates = THRESHOLDS[scores >= scores.max() - 1e-12]
    # rounded, because |.45 − .5| and |.55 − .5| differ in the last bit
    distance = np.round(np.abs(candidates - wanted), 9)
    return float(candidates[int(distance.argmin())])


def threshold_counts(truth: BoolArray, probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """True positives and positives predicted, [len(THRESHOLDS), K], for every candidate threshold at once."""
    steps, labels = len(THRESHOLDS), truth.shape[1]
    reached = np.searchsorted(
        THRESHOLDS, probabilities, side="right"
    )  # candidates ≤ p: decided for the first so many
    cell = reached + np.arange(labels) * (steps + 1)
    size = labels * (steps + 1)

    def cumulate(cells: Any) -> FloatArray:
        counts = np.bincount(cells, minlength=size).reshape(labels, steps + 1).astype(np.float64)
        at_least: FloatArray = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].T
        return at_least

    return cumulate(cell[truth]), cumulate(cell.ravel())


def sigmoid(z: FloatArray) -> FloatArray:
    """1 / (1 + e^−z) without overflow for any |z|."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)
