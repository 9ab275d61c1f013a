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
    by_chapter,
    macro_f1_interval,
    per_label_f1,
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

    `drop` = (standard − set) / standard on macro-F1, None when standard is 0. With `interval_seed`, also
    `macro_f1_interval` = [low, high]: 95 %, bias-corrected, whole patients drawn. Raises DataError for logits that do not
    fit their set or are not finite.
    """
    scores: dict[str, dict[str, Any]] = {}
    for name, held_out in sets.items():
        probabilities = decision.probabilities(logits[name])
        scores[name] = dict(score_set(held_out.y, probabilities, decision, chapters))
        if interval_seed is not None:
            patients = [patient or row for row, patient in enumerate(held_out.patients)]
            interval = macro_f1_interval(
                held_out.y, decision.decide(probabilities), seed=interval_seed, patients=patients
            )
            scores[name]["macro_f1_interval"] = [interval.low, interval.high]
    if "standard" in scores:
        standard = scores["standard"]["macro_f1"]
        for name, values in scores.items():
            if name != "standard":
                values["drop"] = relative_drop(standard, values["macro_f1"])
    return scores


def per_label_scores(
    y: NDArray[np.bool_],
    probabilities: ArrayLike,
    decision: Decision,
    labels: Sequence[str | Labelled],
) -> list[dict[str, Any]]:
    """A row for each label: {id, zh, en, support, predicted, f1, precision, recall, group}, in the order of the taxonomy.

    `labels` are names or objects with id, zh and en. F1, precision and recall are None for a label that never occurs in `y`;
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
    rows: list[dict[str, Any]] = []
    for index, (label, figures) in enumerate(zip(labels, _figures(y, decided), strict=True)):
        named = (
            {"id": index, "zh": label, "en": ""}
            if isinstance(label, str)
            else {"id": label.id, "zh": label.zh, "en": label.en}
        )
        rows.append({**named, **figures, "group": groups[index]})
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
