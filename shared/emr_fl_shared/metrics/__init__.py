"""Scores of multi-label classification, calibration, the decision rule and intervals: numpy arrays in, numbers out."""

from emr_fl_shared.metrics.bootstrap import RESAMPLES, Interval, bootstrap_interval, macro_f1_interval
from emr_fl_shared.metrics.calibration import ECE_BINS, ece_labelwise, ece_top_label, reliability_bins
from emr_fl_shared.metrics.chapters import by_chapter
from emr_fl_shared.metrics.classification import (
    labels_absent,
    macro_f1,
    micro_f1,
    per_label_f1,
    pr_auc_macro,
    pr_auc_per_label,
    precision_recall_per_label,
)
from emr_fl_shared.metrics.decision import (
    THRESHOLDS,
    Decision,
    best_threshold,
    fit_decision,
    fit_temperature,
    label_thresholds,
    sigmoid,
)
from emr_fl_shared.metrics.scores import relative_drop, score_set

__all__ = [
    "ECE_BINS",
    "RESAMPLES",
    "THRESHOLDS",
    "Decision",
    "Interval",
    "best_threshold",
    "bootstrap_interval",
    "by_chapter",
    "ece_labelwise",
    "ece_top_label",
    "fit_decision",
    "fit_temperature",
    "label_thresholds",
    "labels_absent",
    "macro_f1",
    "macro_f1_interval",
    "micro_f1",
    "per_label_f1",
    "pr_auc_macro",
    "pr_auc_per_label",
    "precision_recall_per_label",
    "relative_drop",
    "reliability_bins",
    "score_set",
    "sigmoid",
]
