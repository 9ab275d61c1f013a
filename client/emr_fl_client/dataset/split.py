"""Split a site's records into training and validation so that no patient and no copied text is on both sides.

Patients who have a side already keep it, whatever is appended, shuffled or removed; only the others are placed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emr_fl_client.dataset.stratify import Group, stratify

IndexArray = NDArray[np.int64]
Kind = Literal["patient", "time"]

SMALLEST_CAP = 8
"""Records that a group of patients with copied texts may always have."""
CAP_SHARE = 0.25
"""… and beyond that at most this share of validation: a text that half the patients have must not tie them all together."""
NO_MONTH = -1


@dataclass(frozen=True)
class Split:
    """Row numbers of both sides, ascending; `sides` of all patients known now (True: validates); how many were `placed` just
    now; and how many rows are on neither side, by reason: `copy` (validation would hold a text that is trained on), `time`."""

    train: IndexArray = field(repr=False)
    validation: IndexArray = field(repr=False)
    sides: dict[str, bool] = field(repr=False)
    placed: int
    set_aside: Counter[str]


def split_records(
    patients: Sequence[str],
    y: NDArray[np.bool_],
    *,
    copies: Sequence[bytes],
    months: NDArray[np.int32],
    kind: Kind = "patient",
    validation_share: float,
    seed: int,
    known: Mapping[str, bool] | None = None,
) -> Split:
    """Place the patients who have no side yet. The order of the rows does not matter.

    `patient`: iterative stratification over labels (`stratify`). `time`: trains on the past and validates on the last
    months, as few as hold `validation_share` of the records or, where one month holds more, the last month; a patient
    whose visits are all in them validates; later visits of the others, and earlier ones of those who validate, are set
    aside. Records without a date count as the past.

    Args:
        patients: a pseudonym for each of n records.
        y: which of the K labels each record has, bool [n, K].
        copies: equal keys for texts that are copies of each other, empty for the rest (`copy_keys`).
        months: year · 12 + month − 1 of each record, int32 [n]; −1 where it has none.
        seed: decides in which order patients are taken.
        known: sides given before.

    Raises:
        ValueError: the inputs differ in length, a patient is empty, or the share is not in [0, 1).
    """
    if not len(patients) == len(y) == len(copies) == len(months):
        raise ValueError(
            f"{len(patients)} patients, {len(y)} rows of labels, {len(copies)} keys, {len(months)} months"
        )
    if not 0.0 <= validation_share < 1.0:
        raise ValueError(f"validation_share must be in [0, 1), got {validation_share}")
    rows: dict[str, list[int]] = defaultdict(list)
    for row, patient in enumerate(patients):
        if not patient:
            raise ValueError(f"row {row} has no patient")
        rows[patient].append(row)
    known = known or {}
    cap = max(SMALLEST_CAP, int(CAP_SHARE * validation_share * len(y)))
    order = sorted(rows, key=lambda patient: _order(seed, patient))
    groups = _groups(order, rows, copies, cap)
    since = last_months(months, validation_share) if kind == "time" else None

    sides = {patient: known[patient] for patient in rows if patient in known}
    new: list[list[str]] = []
    for group in groups:
        given = [sides[patient] for patient in group if patient in sides]
        unplaced = [patient for patient in group if patient not in sides]
        if unplaced and given:  # the copies decide; where they are on both sides already, training
            sides.update(dict.fromkeys(unplaced, all(given)))
        elif unplaced:
            new.append(unplaced)
    if since is None:
        sides.update(_by_labels(new, rows, y, sides, validation_share))
    else:
        for group in new:
            late = all(months[row] >= since for patient in group for row in rows[patient])
            sides.update(dict.fromkeys(group, late))
    placed = sum(patient not in known for patient in sides)
    train, validation, set_aside = _rows_of_sides(patients, sides, copies, months, since)
    return Split(train, validation, {**known, **sides}, placed, set_aside)


def last_months(months: NDArray[np.int32], share: float) -> int:
    """The first month of validation: the last months that hold at most `share` of the records, at least one of them.

    Where no record has a date, or all are of one month, this is a month after all of them: nothing validates.
    """
    dated = months[months != NO_MONTH]
    if dated.size == 0 or dated.min() == dated.max() or share == 0.0:
        return int(months.max(initial=NO_MONTH)) + 1
    since = int(dated.max())
    for month in range(since - 1, int(dated.min()), -1):
        if (dated >= month).sum() > share * len(months):
            break
        since = month
    return since


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}|{patient}".encode()).digest()


def _groups(
    order: Sequence[str], rows: Mapping[str, Sequence[int]], copies: Sequence[bytes], cap: int
) -> list[list[str]]:
    """Patients in `order`, those tied by copied texts together: union-find, rare texts first, no group above `cap` records."""
    holders: dict[bytes, list[str]] = defaultdict(list)
    for patient in order:
        for key in sorted({copies[row] for row in rows[patient]} - {b""}):
            holders[key].append(patient)
    parent = {patient: patient for patient in order}
    size = {patient: len(rows[patient]) for patient in order}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = parent[parent[patient]]
            patient = parent[patient]
        return patient

    for _, tied in sorted(holders.items(), key=lambda item: (len(item[1]), item[0])):
        roots = list(dict.fromkeys(root(patient) for patient in tied))
        if len(roots) == 1 or sum(size[each] for each in roots) > cap:
            continue
        for other in roots[1:]:
            parent[other] = roots[0]
            size[roots[0]] += size[other]
    groups: dict[str, list[str]] = defaultdict(list)
    for patient in order:
        groups[root(patient)].append(patient)
    return list(groups.values())


def _by_labels(
    new: Sequence[Sequence[str]],
    rows: Mapping[str, Sequence[int]],
    y: NDArray[np.bool_],
    sides: Mapping[str, bool],
    share: float,
) -> dict[str, bool]:
    """Sides of the patients in `new` by iterative stratification, given those who have one."""
    before = [np.zeros(y.shape[1]), np.zeros(y.shape[1])]
    records = [0, 0]
    for patient, validates in sides.items():
        before[validates] += y[rows[patient]].sum(axis=0)
        records[validates] += len(rows[patient])
    groups = [_group([row for patient in tied for row in rows[patient]], y) for tied in new]
    chosen = stratify(
        groups, share=share, placed=(before[0], before[1]), placed_records=(records[0], records[1])
    )
    if share > 0 and records[1] == 0 and not chosen.any():
        chosen = _smallest_harmless(groups, before[0])
    return {patient: bool(side) for tied, side in zip(new, chosen, strict=True) for patient in tied}


def _group(rows: Sequence[int], y: NDArray[np.bool_]) -> Group:
    counts = y[rows].sum(axis=0)
    return Group(len(rows), tuple((int(label), int(counts[label])) for label in np.flatnonzero(counts)))


def _smallest_harmless(groups: Sequence[Group], trained: NDArray[np.float64]) -> NDArray[np.bool_]:
    """For a very small site: the group with the fewest records whose labels all remain in training; or nobody."""
    totals = trained.copy()
    for group in groups:
        for label, count in group.labels:
            totals[label] += count
    chosen = np.zeros(len(groups), dtype=np.bool_)
    harmless = [
        number
        for number, group in enumerate(groups)
        if all(totals[label] > count for label, count in group.labels)
    ]
    # the only patient is trained on, also where nothing has a label
    if harmless and (len(groups) > 1 or trained.any()):
        chosen[min(harmless, key=lambda number: groups[number].records)] = True
    return chosen


def _rows_of_sides(
    patients: Sequence[str],
    sides: Mapping[str, bool],
    copies: Sequence[bytes],
    months: NDArray[np.int32],
    since: int | None,
) -> tuple[IndexArray, IndexArray, Counter[str]]:
    train: list[int] = []
    validation: list[int] = []
    set_aside: Counter[str] = Counter()
    for row, patient in enumerate(patients):
        validates = sides[patient]
        if since is not None and validates != bool(months[row] >= since):
            set_aside["time"] += 1
        else:
            (validation if validates else train).append(row)
    trained = {copies[row] for row in train} - {b""}
    kept = [row for row in validation if copies[row] not in trained]
    if len(kept) < len(validation):
        set_aside["copy"] = len(validation) - len(kept)
    return _index(train), _index(kept), set_aside


def _index(rows: Iterable[int]) -> IndexArray:
    return np.array(list(rows), dtype=np.int64)
