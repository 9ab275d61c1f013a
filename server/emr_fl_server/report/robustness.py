"""What the page says about text that is written otherwise, and about whom the model serves: noise curve and fairness."""

from __future__ import annotations

from collections.abc import Mapping

from emr_fl_server.report.charts import SERIES, responsive
from emr_fl_server.report.charts.groups import GroupScore, groups_chart
from emr_fl_server.report.charts.noise import NoiseKind, NoisePoint, noise_chart
from emr_fl_server.report.figures import Figures, Place
from emr_fl_server.report.reading import Results
from emr_fl_server.report.sections import Context, ends_of
from emr_fl_server.report.svg import Words, same

KIND_NAMES = {
    "sound": Words("Same sound", "音近字"),
    "shape": Words("Similar shape", "形近字"),
    "deletion": Words("Characters left out", "漏字"),
    "insertion": Words("Characters too many", "多字"),
    "abbreviation": Words("Abbreviations", "缩写"),
    "colloquial": Words("Spoken words", "口语"),
    "width": Words("Punctuation, width", "标点与全半角"),
    "template": Words("Template debris", "模板残留"),
    "mixed": Words("Mixed", "混合"),
}
DIMENSION_NAMES = {
    "sex": Words("Sex", "性别"),
    "age": Words("Age", "年龄"),
    "department": Words("Department", "科室"),
    "year": Words("Year of the visit", "就诊年份"),
}
GROUP_NAMES = {
    "female": Words("female", "女"),
    "male": Words("male", "男"),
    "other": Words("all others", "其余"),
}


def noise(results: Results, figures: Figures) -> Context | None:
    """macro-F1 by kind and strength of noise."""
    kinds: dict[str, list[tuple[float, Place]]] = {}
    for index, entry in enumerate(results.items("noise_curve", "points")):
        place: Place = ("noise_curve", "points", index)
        strength = results.number(*place, "strength")
        if (
            isinstance(entry, Mapping)
            and strength is not None
            and results.number(*place, "macro_f1") is not None
        ):
            kinds.setdefault(str(entry.get("kind") or "?"), []).append((float(strength), place))
    if not kinds:
        return None
    clean = figures.of("percent", "noise_curve", "macro_f1")
    strengths = sorted({strength for points in kinds.values() for strength, _ in points})
    shown, rows = [], []
    for key, points in kinds.items():
        name = KIND_NAMES.get(key, same(key))
        shown.append(NoiseKind(name, tuple(_point(figures, place) for _, place in sorted(points))))
        places = dict(points)
        cells = [_cell(figures, places[strength]) if strength in places else None for strength in strengths]
        rows.append({"name": name, "cells": cells})
    first = {strength: place for points in kinds.values() for strength, place in points}
    label = Words(
        "macro-F1 over the strength of each kind of noise; the table below has the numbers",
        "各类噪声不同强度下的 macro-F1；数值见下表",
    )
    return {
        "n": figures.of("count", "noise_curve", "n"),
        "seed": figures.of("general", "noise_curve", "seed"),
        "version": figures.of("general", "noise_curve", "version"),
        "clean": clean,
        "ends": ends_of(figures, ("noise_curve",), "macro_f1"),
        "strengths": [figures.of("percent", *first[strength], "strength") for strength in strengths],
        "rows": rows,
        "chart": responsive(lambda width: noise_chart(shown, clean, label, width)),
    }


def _point(figures: Figures, place: Place) -> NoisePoint:
    low, high = ends_of(figures, place, "macro_f1")
    return NoisePoint(
        figures.of("percent", *place, "strength"), figures.of("percent", *place, "macro_f1"), low, high
    )


def _cell(figures: Figures, place: Place) -> Context:
    return {
        "score": figures.of("percent", *place, "macro_f1"),
        "ends": ends_of(figures, place, "macro_f1"),
        "touched": figures.of("percent", *place, "touched"),
        "drop": figures.of("percent", *place, "drop"),
    }


def fairness(results: Results, figures: Figures) -> Context | None:
    """Scores by group of patients and the gaps between groups, set by set."""
    sets: list[Context] = []
    for key in results.mapping("fairness", "sets"):
        dimensions = [
            _dimension(results, figures, ("fairness", "sets", key, index))
            for index in range(len(results.items("fairness", "sets", key)))
            if results.items("fairness", "sets", key, index, "groups")
        ]
        if key in SERIES and dimensions:
            sets.append({"series": SERIES[key], "dimensions": dimensions})
    if not sets:
        return None
    first = [(entry["name"], entry["scores"]) for entry in sets[0]["dimensions"]]
    label = Words(
        "macro-F1 of each group of patients with its interval; the table below has the numbers",
        "各患者群体的 macro-F1 及其区间；数值见下表",
    )
    return {
        "smallest": figures.of("count", "fairness", "smallest_count"),
        "sets": sets,
        "chart": responsive(lambda width: groups_chart(first, label, width)),
    }


def _dimension(results: Results, figures: Figures, place: Place) -> Context:
    rows: list[Context] = []
    scores = []
    for index in range(len(results.items(*place, "groups"))):
        at: Place = (*place, "groups", index)
        name = group_name(results.text(*at, "group"))
        macro = ends_of(figures, at, "macro_f1")
        rows.append(
            {
                "name": name,
                "n": figures.of("count", *at, "n"),
                "patients": figures.of("count", *at, "patients"),
                "labels": figures.of("count", *at, "labels"),
                "macro_f1": figures.of("percent", *at, "macro_f1"),
                "macro_ends": macro,
                "micro_f1": figures.of("percent", *at, "micro_f1"),
                "micro_ends": ends_of(figures, at, "micro_f1"),
            }
        )
        scores.append(GroupScore(name, rows[-1]["n"], rows[-1]["macro_f1"], *macro))
    by = results.text(*place, "by")
    return {
        "name": DIMENSION_NAMES.get(by, same(by)),
        "merged": figures.of("count", *place, "merged"),
        "rows": rows,
        "scores": scores,
        "gaps": [
            {"measure": measure, **gap(results, figures, place, key)}
            for key, measure in (("macro_f1", "macro-F1"), ("micro_f1", "micro-F1"))
        ],
    }


def gap(results: Results, figures: Figures, place: Place, measure: str) -> Context:
    """{difference, low, high, best, worst} of one dimension's gap."""
    at: Place = (*place, "gap", measure)
    return {
        "difference": figures.of("points", *at, "difference"),
        "low": figures.of("points", *at, "interval", 0),
        "high": figures.of("points", *at, "interval", 1),
        "best": group_name(results.text(*at, "best")),
        "worst": group_name(results.text(*at, "worst")),
    }


def group_name(group: str) -> Words:
    """A group as the reader knows it."""
    return GROUP_NAMES.get(group, same(group or "?"))
