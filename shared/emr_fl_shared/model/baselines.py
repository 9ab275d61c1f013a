"""TF-IDF with class-balanced logistic regression: the baseline that stands beside every result; on request without the balance.

Character 1–4-grams (sublinear tf, min_df 2), one balanced logistic regression a label. C, the temperature and the
decision rule are tuned on the same validation set that the model gets, so that the comparison is fair. With labels as
unequal as here it is strong: a small transformer without balancing loses to it.

Cost: liblinear's dual coordinate descent, stopped after 10 passes. On a sample federation (6,000 texts of 84 characters, 50
labels, 104,000 n-grams) that takes 4 s a value of C on one core; run to convergence 7–88 s, for a standard macro-F1 that
differs by less than .004. Cutting the vocabulary to 50,000 n-grams costs .01, to 30,000 .02: it is not cut.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics import Decision, fit_decision, macro_f1
from emr_fl_shared.metrics.arrays import BoolArray, FloatArray, truth_matrix

C_GRID = (1.0, 5.0, 25.0, 125.0, 625.0)
_PASSES = 10
_NEVER = -50.0


class TfidfBaseline:
    """Fit once, then `probabilities`; `decision` turns them into labels.

    After fitting: `decision`, `c` (the value chosen) and `validation_macro_f1` (value of C → score). `n_jobs` processes share the
    labels among them. `threshold_shrinkage`: as in `fit_decision`. `balanced`: whether a label's positives weigh as much as its
    negatives. Deterministic: same input, same model, whatever `n_jobs`.
    """

    def __init__(
        self,
        *,
        grid: Sequence[float] = C_GRID,
        n_jobs: int = 1,
        threshold_shrinkage: float | None = None,
        balanced: bool = True,
    ) -> None:
        if not grid or min(grid) <= 0 or n_jobs < 1:
            raise ValueError("the grid needs values of C > 0, n_jobs must be ≥ 1")
        self.grid = tuple(sorted(grid))
        self.n_jobs = n_jobs
        self.threshold_shrinkage = threshold_shrinkage
        self.class_weight = "balanced" if balanced else None
        self.decision = Decision()
        self.c = self.grid[0]
        self.validation_macro_f1: dict[float, float] = {}
        self._vectoriser: Any = None
        self._weights: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self._bias: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._labels = 0
        self._fitted: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._always: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def fit(
        self, texts: Sequence[str], y: NDArray[Any], validation: tuple[Sequence[str], NDArray[Any]]
    ) -> TfidfBaseline:
        """Train on `texts` with truth `y` bool [n, K]; tune on `validation` = (texts, truth bool [m, K]).

        A label without a positive in `y` gets probability 0 for good, one that every record has 1. When every training record
        has exactly one label the decision is argmax. Raises DataError for empty input, counts that differ, or texts without
        a character.
        """
        truth, validation_truth = truth_matrix(y), truth_matrix(validation[1], where="validation")
        _check_counts(texts, truth, "y")
        _check_counts(validation[0], validation_truth, "validation")
        if truth.shape[1] != validation_truth.shape[1]:
            raise DataError(
                tr("training and validation have other labels", "训练集与验证集的标签数不同"),
                got=str(validation_truth.shape[1]),
                expected=str(truth.shape[1]),
            )
        self._labels = truth.shape[1]
        positives = truth.sum(axis=0)
        self._fitted = np.flatnonzero((positives > 0) & (positives < len(truth)))
        self._always = np.flatnonzero(positives == len(truth))
        self._vectoriser, features = _vectorised(texts)
        validation_features = self._vectoriser.transform(validation[0])
        single_label = bool((truth.sum(axis=1) == 1).all())

        best = -1.0
        self.validation_macro_f1 = {}
        for c in self.grid:  # ascending: among equals the more regularised one stays
            weights, bias = self._train(features, truth, c)
            logits = self._all_logits(validation_features @ weights + bias)
            # the temperature is that of the labels which were trained: the constants of the others would distort it
            known = np.union1d(self._fitted, self._always)
            decision = fit_decision(
                logits[:, known],
                validation_truth[:, known],
                single_label=single_label,
                shrinkage=self.threshold_shrinkage,
            )
            if decision.thresholds:  # labels that were not trained have probability 0: any threshold does
                thresholds = np.full(self._labels, decision.threshold)
                thresholds[known] = decision.thresholds
                decision = replace(decision, thresholds=tuple(thresholds.tolist()))
            decided = decision.decide(self._probabilities(logits, decision))
            score = macro_f1(validation_truth, decided)
            self.validation_macro_f1[c] = score
            if score > best:
                best, self.c, self.decision = score, c, decision
                self._weights, self._bias = weights, bias
        return self

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities float64 [len(texts), K] at the decision's temperature. Raises ValueError before `fit`."""
        if self._vectoriser is None:
            raise ValueError("fit the baseline first")
        if not len(texts):
            return np.zeros((0, self._labels))
        logits = self._all_logits(self._vectoriser.transform(texts) @ self._weights + self._bias)
        return self._probabilities(logits, self.decision)

    def _train(
        self, features: Any, truth: BoolArray, c: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        from sklearn.utils.parallel import Parallel, delayed

        models: list[tuple[NDArray[np.float32], float]]
        if self.n_jobs == 1:
            models = [_one_label(features, truth[:, label], c, self.class_weight) for label in self._fitted]
        else:  # processes, not threads: liblinear draws its random order from one generator a process
            parallel: Any = Parallel(n_jobs=self.n_jobs)
            models = parallel(
                delayed(_one_label)(features, truth[:, label], c, self.class_weight) for label in self._fitted
            )
        weights = np.zeros((features.shape[1], len(models)), dtype=np.float32)
        for column, (coefficients, _) in enumerate(models):
            weights[:, column] = coefficients
        return weights, np.array([intercept for _, intercept in models], dtype=np.float32)

    def _all_logits(self, fitted: NDArray[Any]) -> FloatArray:
        logits = np.full((fitted.shape[0], self._labels), _NEVER)
        logits[:, self._always] = -_NEVER
        logits[:, self._fitted] = fitted
        return logits

    def _probabilities(self, logits: FloatArray, decision: Decision) -> FloatArray:
        result = np.zeros(logits.shape)
        result[:, self._always] = 1.0
        if self._fitted.size and len(logits):
            result[:, self._fitted] = decision.probabilities(logits[:, self._fitted])
        return result


def _vectorised(texts: Sequence[str]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # a handful of texts may share no n-gram at all: then every n-gram counts
    for min_df in (2, 1):
        single: Any = np.float32  # half the memory; scikit-learn's annotation knows float64 only
        vectoriser = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 4), sublinear_tf=True, min_df=min_df, dtype=single
        )
        try:
            features = vectoriser.fit_transform(texts)
        except ValueError:  # scikit-learn's "no terms remain" and "empty vocabulary"
            continue
        features.sort_indices()  # shared read-only with other processes, it can't be sorted there
        return vectoriser, features
    raise DataError(tr("no text to learn from", "没有可学习的文本"), where="tfidf", got=f"n = {len(texts)}")


def _one_label(
    features: Any, positive: BoolArray, c: float, class_weight: str | None
) -> tuple[NDArray[np.float32], float]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model: Any = LogisticRegression(
        C=c,
        class_weight=class_weight,
        solver="liblinear",
        dual=True,
        tol=1e-2,
        max_iter=_PASSES,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early on purpose
        model.fit(features, positive)
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def _check_counts(texts: Sequence[str], truth: BoolArray, where: str) -> None:
    if len(texts) != len(truth):
        raise DataError(
            tr("as many texts as rows of truth are needed", "文本数与标签行数不符"),
            where=where,
            got=str(len(texts)),
            expected=str(len(truth)),
        )
