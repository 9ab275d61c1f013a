"""Iterative stratification of groups of records that must stay together.

Sechidis, Tsoumakas, Vlahavas 2011, *On the Stratification of Multi-Label Data*, algorithm 1: go on with the label that has the
fewest records left to place; give each of them to the side that still wants most records of that label, ties to the side
that wants most records, and lower what that side wants.

Symbols: S_1, S_2 → validation and training; r_1 → `share`; c_j^i → `wanted[side, label]`; c_j → `wanted_records[side]`;
D^l → the unplaced groups of a label. Deviations, each for a reason:

- The unit is a group (a patient with copies of the patient's texts elsewhere), not a record: it lowers the wants by all its records.
- Records that were placed before count as placed; only the rest is given out.
- A remaining tie goes to training, not to a random side: equal input gives equal output, and training has more use for it.
- Validation never gets more than `share` of all records nor more than half of a label's, however much it wants a label:
  every label that the site has is trained on.

The libraries that implement the paper (iterative-stratification, scikit-multilearn) split from scratch and by record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

_ROUNDING = 1e-6
"""A tie is a tie although 0.1 · 30 is not quite 3."""


@dataclass(frozen=True)
class Group:
    """Records that stay together: how many (`records`), and their labels with the number of records each."""

    records: int
    labels: tuple[tuple[int, int], ...]


def stratify(
    groups: Sequence[Group],
    *,
    share: float,
    placed: tuple[Counts, Counts],
    placed_records: tuple[int, int],
) -> NDArray[np.bool_]:
    """Which of `groups` validate, bool [len(groups)]. Groups of one label are taken in the order given.

    Args:
        share: of all records, those placed before included, that validation should get, in [0, 1).
        placed: records of each label that were placed before, float64 [K] for training and for validation.
        placed_records: how many records were placed before, for training and for validation.
    """
    labels = len(placed[0])
    left = np.zeros(labels)
    of_label: list[list[int]] = [[] for _ in range(labels)]
    for number, group in enumerate(groups):
        for label, count in group.labels:
            left[label] += count
            of_label[label].append(number)
    totals = left + placed[0] + placed[1]
    records = sum(group.records for group in groups) + sum(placed_records)
    sides = _Sides(share, totals, records, placed, placed_records)

    validates = np.zeros(len(groups), dtype=np.bool_)
    done = np.zeros(len(groups), dtype=np.bool_)

    def place(number: int, label: int | None) -> None:
        validates[number] = sides.place(groups[number], label)
        done[number] = True
        for other, count in groups[number].labels:
            left[other] -= count

    while (open_ := np.flatnonzero(left > 0)).size:
        label = int(open_[np.argmin(left[open_])])
        for number in of_label[label]:
            if not done[number]:
                place(number, label)
    for bare in np.flatnonzero(~done).tolist():  # records without any label
        place(bare, None)
    return validates


class _Sides:
    """What training and validation still want, in plain lists: they are read once for every group."""

    def __init__(
        self,
        share: float,
        totals: Counts,
        records: int,
        placed: tuple[Counts, Counts],
        placed_records: tuple[int, int],
    ) -> None:
        shares = (1.0 - share, share)
        self._wanted: list[list[float]] = [(shares[side] * totals - placed[side]).tolist() for side in (0, 1)]
        self._wanted_records = [shares[side] * records - placed_records[side] for side in (0, 1)]
        self._room: list[float] = (totals / 2 - placed[1]).tolist()

    def place(self, group: Group, label: int | None) -> bool:
        """Whether `group`, reached through `label`, validates; books it."""
        validates = self._prefers_validation(label) and self._may_validate(group)
        side = int(validates)
        self._wanted_records[side] -= group.records
        for other, count in group.labels:
            self._wanted[side][other] -= count
            if validates:
                self._room[other] -= count
        return validates

    def _prefers_validation(self, label: int | None) -> bool:
        if label is not None:
            difference = self._wanted[1][label] - self._wanted[0][label]
            if abs(difference) > _ROUNDING:
                return difference > 0
        return self._wanted_records[1] - self._wanted_records[0] > _ROUNDING

    def _may_validate(self, group: Group) -> bool:
        if group.records > self._wanted_records[1] + _ROUNDING:
            return False
        return all(count <= self._room[label] for label, count in group.labels)
