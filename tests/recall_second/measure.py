"""Sums of the second set by kind, by the rule of what counts as found that `recall.measure` states; misses are not kept."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from emr_fl_shared.deidentify import Deidentifier, Planted, measure_recall, recognisers
from emr_fl_shared.deidentify.roster import Roster
from recall.measure import Measured, with_groups
from recall_second.notes import note, templates


def measure_second(times: int, seeds: Sequence[int], *, known: bool) -> Measured:
    """Each template filled `times` times for each seed; `known`: the patient's name in the row and a roster of the staff."""
    planted: list[Planted] = []
    roster: list[str] = []
    for seed in seeds:
        random = Random(f"second {seed}")
        for template in [*templates()] * times:
            text, truth, row, staff = note(template, random)
            planted.append(Planted(text, tuple(truth), row if known else {}))
            roster += staff
    cleaner = Deidentifier([*recognisers(), *([Roster(roster)] if known else [])], key=bytes(32))
    rows = [row for row in measure_recall(planted, cleaner) if row.kind != "all"]
    return Measured(with_groups(rows), (), len(planted))
