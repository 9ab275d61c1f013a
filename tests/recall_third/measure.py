"""Sums of the third set by kind and its false alarms, by the rule of what counts as found that `recall.measure` states; misses are not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recall.measure import Measured, false_alarms_in, measure_notes
from recall_third.notes import clean_notes, notes


def measure_third(count: int, seeds: Sequence[int], *, known: bool) -> Measured:
    """Recall on `count` notes for each seed; `known`: the row's own columns and the hospital's staff roster help."""
    return replace(measure_notes((notes(count, seed) for seed in seeds), known=known), misses=())


def false_alarms_third(count: int, seed: int) -> tuple[int, int]:
    """Findings and characters of `count` clean texts; the roster of the seed's hospital is in use."""
    _, roster = notes(1, seed)
    found, characters, _ = false_alarms_in(clean_notes(count, seed), roster)
    return found, characters
