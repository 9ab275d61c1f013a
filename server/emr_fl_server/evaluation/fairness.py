"""Whether the model serves everybody alike: scores by sex, age band, department and year of the visit, and the gap between groups.

On the server's own sets only. No group of fewer patients than the smallest count is shown: such groups, and records whose group
is not known, are merged; where the merged one is still too small, the next smallest joins it, so that no count can be
calculated from the others.

Macro-F1 of a group averages over the labels that occur in it, and groups have different illnesses: a gap between departments or
ages is of the model *and* of how hard their labels are. The best and the worst group were chosen by the data, which makes a gap
over many groups look larger than it is; the interval is that of the two groups chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.deidentify.generalise import age_band, known_specialty
from emr_fl_shared.metrics import COMPARED, Counts, resample_counts
from emr_fl_shared.metrics.bootstrap import F1_MEANS
from emr_fl_shared.quality.cell_values import read_date, read_sex
from emr_fl_shared.records import Record

DIMENSIONS = ("sex", "age", "department", "year")
FAIRNESS_SETS = ("standard", "cross_site")
MERGED = "other"
"""Name of the group of all that are too small, and of those that are not known."""


class GroupsSeen:
    """Gathers the group of each record in every dimension, "" where it is not known or not understood."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {name: [] for name in DIMENSIONS}

    def see(self, record: Record) -> None:
        """Take one de-identified record. Only words of closed lists and numbers are kept, never what a cell says."""
        visit = read_date(record.visit_date)
        for name, value in (
            ("sex", read_sex(record.sex) or ""),
            ("age", age_band(record.age)),
            ("department", known_specialty(record.department)),
            ("year", str(visit.year) if visit else ""),
        ):
            self._values[name].append(value)

    def groups(self) -> dict[str, list[str]]:
        """By dimension, the group of each record seen; dimensions of which nothing is known are left out."""
        return {name: values for name, values in self._values.items() if any(values)}


def fairness(
    held_out: HeldOutSet, decided: NDArray[np.bool_], *, smallest: int, seed: int
) -> list[dict[str, Any]]:
    """An entry for each dimension with at least two groups: {by, merged, groups, gap}.

    `groups`, largest first: {group, n, patients, labels, macro_f1, micro_f1} and their `…_interval` = [low, high];
    `merged`: how many groups are in `other`. `gap`: by measure {difference, interval, best, worst}, best minus worst group.
    Intervals: 95 %, BCa, whole patients drawn over the whole set.
    """
    entries = []
    for name, values in held_out.groups.items():
        groups, merged = visible_groups(values, held_out.clusters, smallest)
        if len(groups) >= 2:
            entries.append({"by": name, "merged": merged, **_scored(held_out, decided, groups, seed)})
    return entries


def visible_groups(
    values: Sequence[str], patients: Sequence[str | int], smallest: int
) -> tuple[dict[str, NDArray[np.bool_]], int]:
    """The records bool [n] of each group that may be shown, largest first and `other` last, and how many groups `other` holds."""
    column = np.array(values)
    rows = {name: column == name for name in dict.fromkeys(values)}
    whose = np.array([str(patient) for patient in patients])

    def size(of: NDArray[np.bool_]) -> int:
        return len(set(whose[of].tolist()))

    known = sorted((name for name in rows if name), key=lambda name: (-size(rows[name]), name))
    shown = [name for name in known if size(rows[name]) >= smallest]
    small = [name for name in known if size(rows[name]) < smallest]
    rest = np.zeros(len(column), dtype=np.bool_)
    for name in ("", *small):
        rest |= rows.get(name, False)
    while rest.any() and size(rest) < smallest and shown:
        small.append(shown.pop())
        rest |= rows[small[-1]]
    groups = {name: rows[name] for name in shown}
    if rest.any() and size(rest) >= smallest:
        groups[MERGED] = rest
    return groups, len(small)


def _scored(
    held_out: HeldOutSet, decided: NDArray[np.bool_], groups: Mapping[str, NDArray[np.bool_]], seed: int
) -> dict[str, Any]:
    names, measures = list(groups), COMPARED
    parts = [(held_out.y & rows[:, None], decided & rows[:, None]) for rows in groups.values()]

    def of_groups(counts: Sequence[Counts]) -> NDArray[np.float64]:
        """[..., measures × groups]"""
        return np.stack([F1_MEANS[measure](part) for measure in measures for part in counts], axis=-1)

    found = resample_counts(parts, of_groups, seed=seed, patients=held_out.clusters)
    whose = np.array([str(patient) for patient in held_out.clusters])
    rows: list[dict[str, Any]] = []
    for index, (name, members) in enumerate(groups.items()):
        row: dict[str, Any] = {
            "group": name,
            "n": int(members.sum()),
            "patients": len(set(whose[members].tolist())),
            "labels": int(held_out.y[members].any(axis=0).sum()),
        }
        for at, measure in enumerate(measures):
            interval = found.interval(at * len(names) + index)
            row |= {measure: interval.estimate, f"{measure}_interval": [interval.low, interval.high]}
        rows.append(row)
    gap = {}
    for at, measure in enumerate(measures):
        scores = found.estimate[at * len(names) : (at + 1) * len(names)]
        best, worst = int(scores.argmax()), int(scores.argmin())
        difference = found.difference(at * len(names) + best, at * len(names) + worst)
        gap[measure] = {
            "difference": difference.estimate,
            "interval": [difference.low, difference.high],
            "best": names[best],
            "worst": names[worst],
        }
    return {"groups": rows, "gap": gap}
