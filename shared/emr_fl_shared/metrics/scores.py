"""All figures of one held-out set, under the names they have in `results.json`."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from emr_fl_shared.metrics.arrays import paired
from emr_fl_shared.metrics.calibration import brier_score, ece_labelwise, ece_top_label
from emr_fl_shared.metrics.chapters import by_chapter
from emr_fl_shared.metrics.classification import (
    group_f1,
    labels_absent,
    macro_f1,
    micro_f1,
    pr_auc_macro,
    subset_accuracy,
    weighted_f1,
)
from emr_fl_shared.metrics.decision import Decision


def score_set(
    y: ArrayLike, p: ArrayLike, decision: Decision, chapters: Sequence[str] = ()
) -> dict[str, float | int]:
    """Truth bool [n, K] and probabilities float [n, K] (already at the decision's temperature) → the set's scores.

    `chapters`: the chapter of each label (K strings, empty where a label has none). Where any is given, also `chapter_macro_f1`,
    `chapter_micro_f1` and `chapters_absent`: the same of chapters, each true or predicted where one of its labels is.

    Raises DataError for an empty set, shapes that differ, NaN, or probabilities outside [0, 1].
    """
    truth, probabilities = paired(y, p)
    decided = decision.decide(probabilities)
    scores: dict[str, float | int] = {
        "n": len(truth),
        "macro_f1": macro_f1(truth, decided),
        "micro_f1": micro_f1(truth, decided),
        "weighted_f1": weighted_f1(truth, decided),
        **{f"{group}_f1": score for group, score in group_f1(truth, decided).items()},
        "subset_accuracy": subset_accuracy(truth, decided),
        "pr_auc_macro": pr_auc_macro(truth, probabilities),
        "ece": ece_top_label(truth, probabilities),
        "ece_mass": ece_top_label(truth, probabilities, binning="mass"),
        "ece_labelwise": ece_labelwise(truth, probabilities),
        "ece_labelwise_mass": ece_labelwise(truth, probabilities, binning="mass"),
        "brier": brier_score(truth, probabilities),
        "labels_absent": labels_absent(truth),
    }
    if any(chapters):
        _, (chapter_truth, chapter_decided) = by_chapter(chapters, truth, decided)
        scores |= {
            "chapter_macro_f1": macro_f1(chapter_truth, chapter_decided),
            "chapter_micro_f1": micro_f1(chapter_truth, chapter_decided),
            "chapters_absent": labels_absent(chapter_truth),
        }
    return scores


def relative_drop(standard: float, other: float) -> float | None:
    """(standard − other) / standard, a fraction; negative when the other set scored better, None when standard is 0."""
    return (standard - other) / standard if standard > 0.0 else None
