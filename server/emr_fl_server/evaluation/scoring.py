"""Scores of the held-out sets beside each other, and of each label against its frequency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.errors import DataError
from emr_fl_shared.labels import chapters as icd10_chapters
from emr_fl_shared.labels import frequency_groups
from emr_fl_shared.messages import tr
from emr_fl_shared.metrics import (
    Decision,
    brier_per_label,
    by_chapter,
    ece_per_label,
    f1_intervals,
    per_label_f1,
    pr_auc_per_label,
    precision_recall_per_label,
    relative_drop,
    score_set,
)


class Labelled(Protocol):
    """A label as it is named in tables."""

    @property
    def id(self) -> int: ...
    @property
    def zh(self) -> str: ...
    @property
    def en(self) -> str: ...


def predict_sets(
    predict: Callable[[list[str]], NDArray[Any]], sets: Mapping[str, HeldOutSet]
) -> dict[str, NDArray[Any]]:
    """Logits [n, K] of every set."""
    return {name: predict(held_out.texts) for name, held_out in sets.items()}


def score_sets(
    logits: Mapping[str, ArrayLike],
    sets: Mapping[str, HeldOutSet],
    decision: Decision,
    *,
    chapters: Sequence[str] = (),
    interval_seed: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores by set, as in `results.json`: what `score_set` gives and, beside a set `standard`, the `drop` of the others.
    `chapters` as for `score_set`.

    `drop` = (standard − set) / standard on macro-F1, None when standard is 0. With `interval_seed`, also what `intervals`
    gives. Raises DataError for logits that do not
    fit their set or are not finite.
    """
    scores: dict[str, dict[str, Any]] = {}
    for name, held_out in sets.items():
        probabilities = decision.probabilities(logits[name])
        scores[name] = dict(score_set(held_out.y, probabilities, decision, chapters))
        if interval_seed is not None:
            scores[name] |= intervals(held_out, decision.decide(probabilities), seed=interval_seed)
    if "standard" in scores:
        standard = scores["standard"]["macro_f1"]
        for name, values in scores.items():
            if name != "standard":
                values["drop"] = relative_drop(standard, values["macro_f1"])
    return scores


def intervals(held_out: HeldOutSet, decided: NDArray[np.bool_], *, seed: int) -> dict[str, list[float]]:
    """`macro_f1_interval`, `micro_f1_interval`, `weighted_f1_interval` = [low, high]: 95 %, BCa, whole patients drawn."""
    found = f1_intervals(held_out.y, decided, seed=seed, patients=held_out.clusters)
    return {f"{name}_interval": [interval.low, interval.high] for name, interval in found.items()}


def per_label_scores(
    y: NDArray[np.bool_],
    probabilities: ArrayLike,
    decision: Decision,
    labels: Sequence[str | Labelled],
) -> list[dict[str, Any]]:
    """A row for each label: {id, zh, en, support, predicted, f1, precision, recall, pr_auc, ece, ece_mass, brier, group}, in
    the order of the taxonomy.

    `labels` are names or objects with id, zh and en. All scores but Brier's are None for a label that never occurs in `y`;
    `group` is that of `frequency_groups`.
    """
    decided = decision.decide(probabilities)
    if len(labels) != y.shape[1]:
        raise DataError(
            tr("as many labels as columns are needed", "标签数与列数不符"),
            got=str(len(labels)),
            expected=str(y.shape[1]),
        )
    groups = frequency_groups(y.sum(axis=0))
    areas, brier = pr_auc_per_label(y, probabilities), brier_per_label(y, probabilities)
    ece, ece_mass = ece_per_label(y, probabilities), ece_per_label(y, probabilities, binning="mass")
    rows: list[dict[str, Any]] = []
    for index, (label, figures) in enumerate(zip(labels, _figures(y, decided), strict=True)):
        named = (
            {"id": index, "zh": label, "en": ""}
            if isinstance(label, str)
            else {"id": label.id, "zh": label.zh, "en": label.en}
        )
        of_probabilities = {
            name: None if np.isnan(values[index]) else float(values[index])
            for name, values in (("pr_auc", areas), ("ece", ece), ("ece_mass", ece_mass), ("brier", brier))
        }
        rows.append({**named, **figures, **of_probabilities, "group": groups[index]})
    return rows


def per_chapter_scores(
    y: NDArray[np.bool_], probabilities: ArrayLike, decision: Decision, of_labels: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each chapter of `of_labels` (the chapter of each label, empty where it has none), in the order of the book:
    {chapter, zh, en, labels, support, predicted, f1, precision, recall}. `labels` counts the labels in it."""
    names, (truth, decided) = by_chapter(of_labels, y, decision.decide(probabilities))
    figures = dict(zip(names, _figures(truth, decided), strict=True))
    return [
        {
            "chapter": chapter.numeral,
            "zh": chapter.zh,
            "en": chapter.en,
            "labels": list(of_labels).count(chapter.numeral),
            **figures[chapter.numeral],
        }
        for chapter in icd10_chapters()
        if chapter.numeral in figures
    ]


def _figures(y: NDArray[np.bool_], decided: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """{support, predicted, f1, precision, recall} of each column; the last three are None for one that never occurs in `y`."""
    f1 = per_label_f1(y, decided)
    precision, recall = precision_recall_per_label(y, decided)
    support = y.sum(axis=0)
    return [
        {
            "support": int(support[index]),
            "predicted": int(decided[:, index].sum()),
            "f1": float(f1[index]) if support[index] else None,
            "precision": float(precision[index]) if support[index] else None,
            "recall": float(recall[index]) if support[index] else None,
        }
        for index in range(y.shape[1])
    ]
