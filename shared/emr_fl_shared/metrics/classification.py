"""F1 and PR-AUC of multi-label predictions.

Macro averages run over the labels that occur in the set at least once: a label without a positive has no recall, and
its PR-AUC is undefined. Such labels are left out and counted (`labels_absent`); what was predicted for them still
counts as false positives in micro-F1. With no positive at all, every figure here is 0.0 by definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from emr_fl_shared.labels.frequency import FREQUENCY_GROUPS, frequency_groups
from emr_fl_shared.metrics.arrays import FloatArray, paired, paired_decisions, truth_matrix


def f1_from_counts(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> FloatArray:
    """F1 = 2·tp / (2·tp + fp + fn), elementwise; 0.0 where nothing is true and nothing was predicted."""
    doubled = 2.0 * np.asarray(tp, dtype=np.float64)
    return _ratio(doubled, doubled + np.asarray(fp, dtype=np.float64) + np.asarray(fn, dtype=np.float64))


def precision_recall_per_label(y: ArrayLike, predicted: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Precision [K] and recall [K]; 0.0 where the denominator is 0."""
    truth, decisions = paired_decisions(y, predicted)
    tp = (truth & decisions).sum(axis=0).astype(np.float64)
    precision = _ratio(tp, decisions.sum(axis=0).astype(np.float64))
    recall = _ratio(tp, truth.sum(axis=0).astype(np.float64))
    return precision, recall


def per_label_f1(y: ArrayLike, predicted: ArrayLike) -> FloatArray:
    """F1 of each label [K]; NaN for a label that never occurs in `y`, so that no mean takes it by mistake."""
    truth, decisions = paired_decisions(y, predicted)
    tp = (truth & decisions).sum(axis=0)
    scores = f1_from_counts(tp, decisions.sum(axis=0) - tp, truth.sum(axis=0) - tp)
    scores[~truth.any(axis=0)] = np.nan
    return scores


def macro_f1(y: ArrayLike, predicted: ArrayLike) -> float:
    """Mean F1 over the labels that occur in `y` (bool [n, K]); 0.0 when none occurs."""
    return mean_over_present(per_label_f1(y, predicted))


def micro_f1(y: ArrayLike, predicted: ArrayLike) -> float:
    """F1 over all (record, label) pairs, also of labels that never occur; 0.0 when nothing is true or predicted."""
    truth, decisions = paired_decisions(y, predicted)
    tp = int((truth & decisions).sum())
    return float(f1_from_counts(tp, int(decisions.sum()) - tp, int(truth.sum()) - tp))


def weighted_f1(y: ArrayLike, predicted: ArrayLike) -> float:
    """Mean F1 over the labels, each counted by its positives in `y`; 0.0 when there is none."""
    support = truth_matrix(y).sum(axis=0)
    scores = np.nan_to_num(per_label_f1(y, predicted))
    return float(scores @ support / support.sum()) if support.any() else 0.0


def subset_accuracy(y: ArrayLike, predicted: ArrayLike) -> float:
    """The share of records whose labels were all found, and no other."""
    truth, decisions = paired_decisions(y, predicted)
    return float((truth == decisions).all(axis=1).mean())


def group_f1(y: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """macro-F1 of the `head`, `middle` and `tail` labels, by their frequency in `y` (`frequency_groups`).

    A group none of whose labels occurs scores 0.0, as `macro_f1` does.
    """
    truth, decisions = paired_decisions(y, predicted)
    scores, groups = per_label_f1(truth, decisions), np.array(frequency_groups(truth.sum(axis=0)))
    return {group: mean_over_present(scores[groups == group]) for group in FREQUENCY_GROUPS}


def pr_auc_macro(y: ArrayLike, p: ArrayLike) -> float:
    """Average precision (scikit-learn's step-wise sum, no interpolation), mean over the labels that occur; else 0.0."""
    return mean_over_present(pr_auc_per_label(y, p))


def pr_auc_per_label(y: ArrayLike, p: ArrayLike) -> FloatArray:
    """Average precision of each label [K]; NaN for a label that never occurs in `y`."""
    from sklearn.metrics import average_precision_score

    truth, probabilities = paired(y, p)
    scores = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        scores[label] = average_precision_score(truth[:, label], probabilities[:, label])
    return scores


def labels_absent(y: ArrayLike) -> int:
    """How many of the K labels never occur in `y`."""
    return int((~truth_matrix(y).any(axis=0)).sum())


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    result: FloatArray = np.divide(
        numerator, denominator, out=np.zeros(np.shape(denominator)), where=np.asarray(denominator) > 0
    )
    return result


def mean_over_present(scores: FloatArray) -> float:
    """The mean of the scores that are not NaN; 0.0 when all are."""
    present = scores[~np.isnan(scores)]
    return float(present.mean()) if present.size else 0.0
