"""The numbers that decide how hard the corpus is. They were tuned with TF-IDF only, before any network was looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Probabilities and sizes of the generator; the defaults meet the targets of `docs/sample-federation.md`."""

    zipf: float = 1.05
    """Exponent of the labels' frequencies over all first diagnoses."""
    mix: tuple[float, float] = (0.3, 0.5)
    """Dirichlet parameter of a site's departments and labels, drawn uniformly from this range."""
    cross_tempering: float = 0.7
    """Power of the prevalence at the cross-site hospital: below 1 it sees more of what is rare elsewhere."""
    visits: float = 2.2
    """Mean visits of a patient."""
    same_label: float = 0.45
    """Share of later visits that are for the same label as the visit before."""
    copied: float = 0.15
    """Share of records whose present illness is copied from the visit before."""
    comorbidity: float = 0.88
    """Factor on the mean number of further diagnoses by age."""
    base: float = 0.08
    per_sharing: float = 0.07
    prior: float = 0.5
    """Weight of the lexicon's own probability against base + per_sharing · sharing."""
    positives: int = 5
    """Most findings of the first diagnosis that a note states."""
    unrelated: float = 0.3
    """Share of notes with a finding of a disease that the patient does not have."""
    negated: tuple[int, int] = (4, 9)
    normal: float = 0.2
    """Share of vitals and laboratory values that are normal in spite of the disease."""
    missing: float = 0.1
    """Share of empty cells in each clinical column."""
    typing_errors: float = 0.01
    """Share of characters typed wrongly."""
    label_noise: float = 0.05
    named_diagnosis: float = 0.07
    known_disease: float = 0.12
    """Share of chronic further diagnoses that the past history names instead of hinting at by their drugs."""
    resolved: float = 0.35
    """Share of notes with a past illness that is over."""
    length: tuple[float, float] = (97.0, 14.0)
    """Mean and standard deviation of the note's length in characters."""
    longest: int = 124
