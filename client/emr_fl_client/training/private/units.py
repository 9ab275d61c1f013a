"""Whose influence is bounded: one record's, or all that a patient contributes.

A unit is drawn as a whole. A patient's unit holds at most so many records, chosen once by the site's own key from this patient's
records alone, so that nobody else's records change the choice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emr_fl_client.dataset.sealed import derive_key
from emr_fl_shared.model.batching import padded_length

Rows = NDArray[np.int64]


def record_units(count: int) -> list[Rows]:
    """Each of `count` records a unit of its own."""
    return [np.array([row], dtype=np.int64) for row in range(count)]


def patient_units(patients: Sequence[str], most: int, key: bytes) -> list[Rows]:
    """The records of each patient (pseudonyms, one a record), at most `most` of them, ascending; patients in order of their first."""
    found: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        found.setdefault(patient, []).append(row)
    units = []
    for patient, rows in found.items():
        if len(rows) > most:
            rows = sorted(random.Random(derive_key(key, f"contribution|{patient}")).sample(rows, most))
        units.append(np.array(rows, dtype=np.int64))
    return units


def packed(units: Sequence[Rows], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Drawn units (numbers of records) in parts of at most `most` records, a larger unit alone; none is cut.

    `lengths`: tokens of each unit's longest record. Units of similar length come together, which costs less for padding.
    """
    order = sorted(range(len(units)), key=lambda unit: padded_length(lengths[unit]))
    parts: list[list[int]] = []
    records = 0
    for unit in order:
        if not parts or records + len(units[unit]) > most:
            parts.append([])
            records = 0
        parts[-1].append(unit)
        records += len(units[unit])
    return parts
