"""Split a site's records into training and validation so that no patient is on both sides."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]


def patient_split(
    patient_ids: Sequence[str],
    y: NDArray[np.bool_],
    *,
    validation_share: float,
    seed: int,
) -> tuple[IndexArray, IndexArray]:
    """Row indices (training, validation), each ascending; equal input and seed give equal output.

    All visits of a patient go to one side; a record without a patient id counts as a patient of its own. Rare labels
    go to training first: whole patients are drawn in random order for validation as long as it holds no more than
    `validation_share` of every label's records, so a label with fewer than 1 / `validation_share` records stays in
    training altogether. If that leaves validation short, a second pass fills it up, but never takes the last half of
    a label's records. The validation set is never larger than `validation_share` of the records, unless that
    were less than one patient.

    Args:
        y: which of the K labels each record has, bool [n, K].

    Raises:
        ValueError: the two inputs differ in length, or the share is not in [0, 1).
    """
    if len(patient_ids) != len(y):
        raise ValueError(f"{len(patient_ids)} patients but {len(y)} rows of labels")
    if not 0.0 <= validation_share < 1.0:
        raise ValueError(f"validation_share must be in [0, 1), got {validation_share}")
    groups: dict[Hashable, list[int]] = {}
    for row, patient in enumerate(patient_ids):
        groups.setdefault(patient if patient else row, []).append(row)
    order = list(groups.values())
    random.Random(seed).shuffle(order)

    target = validation_share * len(y)
    totals = y.sum(axis=0).astype(np.float64)
    taken = np.zeros(y.shape[1], dtype=np.float64)
    chosen: list[int] = []
    for ceiling in (np.floor(validation_share * totals), np.floor(totals / 2)):
        left: list[list[int]] = []
        for rows in order:
            counts = y[rows].sum(axis=0)
            carries = counts > 0
            fits = len(chosen) + len(rows) <= target
            if fits and bool(np.all((taken + counts)[carries] <= ceiling[carries])):
                chosen.extend(rows)
                taken += counts
            else:
                left.append(rows)
        order = left
    if not chosen and target > 0 and len(groups) > 1:
        chosen = _smallest_harmless(order, y, totals)
    validation = np.array(sorted(chosen), dtype=np.int64)
    training = np.setdiff1d(np.arange(len(y), dtype=np.int64), validation)
    return training, validation


def _smallest_harmless(
    order: Sequence[list[int]], y: NDArray[np.bool_], totals: NDArray[np.float64]
) -> list[int]:
    """For a very small site: the patient with the fewest records whose labels all remain in training; or nobody."""
    harmless = [rows for rows in order if not np.any((totals > 0) & (totals == y[rows].sum(axis=0)))]
    smallest: list[int] = min(harmless, key=len, default=[])
    return smallest
