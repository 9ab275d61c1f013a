"""All figures of one held-out set, under the names they have in `results.json`."""

from __future__ import annotations

from numpy.typing import ArrayLike

from emr_fl_shared.metrics.arrays import paired
from emr_fl_shared.metrics.calibration import ece_labelwise, ece_top_label
from emr_fl_shared.metrics.classification import labels_absent, macro_f1, micro_f1, pr_auc_macro
from emr_fl_shared.metrics.decision import Decision


def score_set(y: ArrayLike, p: ArrayLike, decision: Decision) -> dict[str, float | int]:
    """Truth bool [n, K] and probabilities float [n, K] (already at the decision's temperature) → the set's scores.

    Raises DataError for an empty set, shapes that differ, NaN, or probabilities outside [0, 1].
    """
    truth, probabilities = paired(y, p)
    decided = decision.decide(probabilities)
    return {
        "n": len(truth),
        "macro_f1": macro_f1(truth, decided),
        "micro_f1": micro_f1(truth, decided),
        "pr_auc_macro": pr_auc_macro(truth, probabilities),
        "ece": ece_top_label(truth, probabilities),
        "ece_labelwise": ece_labelwise(truth, probabilities),
        "labels_absent": labels_absent(truth),
    }


def relative_drop(standard: float, other: float) -> float | None:
    """(standard − other) / standard, a fraction; negative when the other set scored better, None when standard is 0."""
    return (standard - other) / standard if standard > 0.0 else None
