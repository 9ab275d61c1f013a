"""Patients and their visits: who comes, when, with which diseases."""

from __future__ import annotations

import itertools
import random
from calendar import isleap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from emr_fl_deploy.corpus.difficulty import Difficulty
from emr_fl_deploy.corpus.knowledge import Disease, Knowledge, comorbidity_factors, prevalence_order

FIRST_DAY = date(2022, 1, 1)
DAYS = 730
LAST_DAY = date(2025, 12, 31)
"""No visit is later, whenever the corpus is made."""
WINTER = (11, 12, 1, 2)
SUMMER = (6, 7, 8, 9)
RESPIRATORY = (12, 13)  # J00-J22
_AGE_BAND = 10
_EXTRA_BY_AGE = ((14, 0.12), (30, 0.25), (45, 0.5), (60, 0.9), (200, 1.35))
_EXTRA_AT_VISIT = 0.62
_CHRONIC_GAP, _ACUTE_GAP = 50, 8  # mean days to the next visit


@dataclass(slots=True)
class Patient:
    """One invented patient. `number` is unique in the whole federation."""

    number: int
    sex: str
    born: date
    chronic: list[Disease] = field(default_factory=list, repr=False)

    def age(self, day: date) -> int:
        return day.year - self.born.year - ((day.month, day.day) < (self.born.month, self.born.day))


@dataclass(slots=True)
class Visit:
    """One visit: `diseases[0]` is what the patient comes for, the rest was there already; labels are distinct."""

    patient: Patient
    day: date
    age: int
    diseases: tuple[Disease, ...]
    hospital: int
    copied_from: Visit | None = field(default=None, repr=False)


def zipf_prior(labels: Sequence[int], exponent: float) -> dict[int, float]:
    """Label → probability of being the first diagnosis, by its rank in `prevalence.tsv`."""
    ranked = [label for label in prevalence_order() if label in set(labels)]
    weights = np.arange(1, len(ranked) + 1, dtype=float) ** -exponent
    return dict(zip(ranked, (weights / weights.sum()).tolist(), strict=True))


def quotas(prior: Mapping[int, float], n: int) -> Counter[int]:
    """`n` first diagnoses by largest remainders; every label at least once if there is room for it."""
    floor = 1 if n >= 2 * len(prior) else 0
    free = n - floor * len(prior)
    exact = {label: free * p for label, p in prior.items()}
    counts = Counter({label: floor + int(value) for label, value in exact.items()})
    by_remainder = sorted(prior, key=lambda label: (int(exact[label]) - exact[label], label))
    for label in by_remainder[: n - sum(counts.values())]:
        counts[label] += 1
    return counts


def site_quotas(
    prior: Mapping[int, float],
    departments: Mapping[int, str],
    sizes: Sequence[int],
    generator: np.random.Generator,
    mix: tuple[float, float],
) -> list[Counter[int]]:
    """First diagnoses of each site: site sizes and the federation's label counts are kept exactly.

    Department and label shares over the sites are Dirichlet draws with a parameter from `mix`; iterative proportional
    fitting (Deming & Stephan, 1940) brings the table to both margins, then largest remainders make it whole.
    """
    total = quotas(prior, sum(sizes))
    labels = sorted(prior)
    names = sorted(set(departments.values()))
    alpha = generator.uniform(*mix, size=len(names) + len(labels))
    by_department = {
        name: generator.dirichlet([a] * len(sizes)) for name, a in zip(names, alpha, strict=False)
    }
    own = [generator.dirichlet([a] * len(sizes)) for a in alpha[len(names) :]]
    table = (
        np.array([by_department[departments[label]] + row for label, row in zip(labels, own, strict=True)])
        + 1e-4
    )
    rows = np.array([total[label] for label in labels], dtype=float)
    columns = np.array(sizes, dtype=float)
    for _ in range(500):
        table *= (rows / table.sum(1))[:, None]
        table *= columns / table.sum(0)
    counts = [Counter[int]() for _ in sizes]
    room = list(sizes)
    # rare labels first, so that rounding never takes their last record away; the last rows take what room is left
    for row in sorted(range(len(labels)), key=lambda i: (rows[i], i)):
        for _ in range(int(rows[row])):
            wanted = [(table[row, s] - counts[s][labels[row]], s) for s in range(len(sizes)) if room[s] > 0]
            site = max(wanted)[1]
            counts[site][labels[row]] += 1
            room[site] -= 1
    return counts


def skewed_quotas(
    prior: Mapping[int, float], n: int, generator: np.random.Generator, difficulty: Difficulty
) -> Counter[int]:
    """First diagnoses of a hospital with its own mix: tempered prevalence times a gamma draw per label."""
    alpha = generator.uniform(*difficulty.mix)
    weights = {
        label: p**difficulty.cross_tempering * (generator.gamma(alpha) + 0.05) for label, p in prior.items()
    }
    total = sum(weights.values())
    return quotas({label: weight / total for label, weight in weights.items()}, n)


class Comorbidity:
    """Further chronic diseases by age and sex (and by the first disease, `comorbidity.tsv`)."""

    def __init__(self, knowledge: Knowledge, prior: Mapping[int, float], factor: float) -> None:
        self._factor = factor
        self._pairs = comorbidity_factors()
        self._candidates: dict[tuple[str, int], list[tuple[Disease, float]]] = {}
        for sex, band in itertools.product(("male", "female"), range(0, 100, _AGE_BAND)):
            self._candidates[sex, band // _AGE_BAND] = [
                (disease, prior[disease.label] * disease.weight)
                for disease in knowledge.diseases
                if disease.chronic and disease.label in prior and disease.fits(sex, band + _AGE_BAND // 2)
            ]

    def draw(self, first: Disease, sex: str, age: int, rng: random.Random) -> list[Disease]:
        mean = self._factor * next(value for limit, value in _EXTRA_BY_AGE if age < limit)
        wanted = sum(rng.random() < mean / 3 for _ in range(3))
        candidates = self._candidates[sex, min(age, 99) // _AGE_BAND]
        chosen: list[Disease] = []
        if not candidates:
            return chosen
        weights = list(
            itertools.accumulate(w * self._pairs.get((first.label, d.label), 1.0) for d, w in candidates)
        )
        for _ in range(wanted):
            disease = rng.choices(candidates, cum_weights=weights)[0][0]
            if disease.label not in {first.label, *(other.label for other in chosen)}:
                chosen.append(disease)
        return chosen


def admit(
    counts: Mapping[int, int],
    hospital: int,
    first_number: int,
    knowledge: Knowledge,
    comorbidity: Comorbidity,
    difficulty: Difficulty,
    rng: random.Random,
) -> list[Visit]:
    """Patients whose visits together have exactly the first diagnoses `counts`; visits of a patient in order."""
    left = Counter(counts)
    deck = [label for label in sorted(left) for _ in range(left[label])]
    rng.shuffle(deck)
    visits: list[Visit] = []
    number = first_number
    copy_rate = _copy_rate(difficulty)
    while deck:
        label = deck.pop()
        if left[label] <= 0:
            continue
        left[label] -= 1
        disease = _one_of(knowledge.by_label[label], rng)
        day = _day(disease, FIRST_DAY, DAYS, rng)
        patient = _patient(number, disease, day, comorbidity, rng)
        number += 1
        first = len(visits)
        visits.append(Visit(patient, day, patient.age(day), _diseases(patient, disease, rng), hospital))
        for _ in range(_further_visits(difficulty.visits - 1.0, rng)):
            following = _next_visit(visits[-1], left, deck, knowledge, difficulty, copy_rate, rng)
            if following is None:
                break
            visits.append(following)
        _end_in_time(visits[first:])
    return visits


def _end_in_time(visits: Sequence[Visit]) -> None:
    """Move a patient's whole life back by as many years as the last visit (the latest) is late, in place.

    Ages, seasons and the time between visits stay.
    """
    late = visits[-1].day.year - LAST_DAY.year
    if late > 0:
        patient = visits[0].patient
        patient.born = _years_before(patient.born, late)
        for visit in visits:
            visit.day = _years_before(visit.day, late)


def _years_before(day: date, years: int) -> date:
    """The same day of an earlier year; 28 February for one that it does not have."""
    if (day.month, day.day) == (2, 29) and not isleap(day.year - years):
        day -= timedelta(days=1)
    return day.replace(year=day.year - years)


def _copy_rate(difficulty: Difficulty) -> float:
    later = 1.0 - 1.0 / difficulty.visits
    return min(1.0, difficulty.copied / max(1e-9, later * difficulty.same_label))


def _further_visits(mean: float, rng: random.Random) -> int:
    # geometric: most come once, a few come often
    stop = 1.0 / (1.0 + mean)
    count = 0
    while count < 15 and rng.random() >= stop:
        count += 1
    return count


def _one_of(diseases: Sequence[Disease], rng: random.Random) -> Disease:
    return rng.choices(diseases, weights=[disease.weight for disease in diseases])[0]


def _patient(
    number: int, disease: Disease, day: date, comorbidity: Comorbidity, rng: random.Random
) -> Patient:
    sex = disease.sex if disease.sex != "any" else rng.choice(("male", "female"))
    low, high = disease.ages
    age = rng.uniform(low, high + 0.99)
    if disease.chronic and high > 50 and rng.random() < 0.5:
        age = max(age, rng.uniform(low, high + 0.99))
    born = day - timedelta(days=int(age * 365.25) + 1)
    patient = Patient(number, sex, born)
    years = patient.age(day)
    patient.chronic = comorbidity.draw(disease, sex, years, rng)
    if disease.chronic:
        patient.chronic.append(disease)
    return patient


def _diseases(patient: Patient, first: Disease, rng: random.Random) -> tuple[Disease, ...]:
    chosen = [first]
    for disease in patient.chronic:
        if disease.label not in {other.label for other in chosen} and rng.random() < _EXTRA_AT_VISIT:
            chosen.append(disease)
    return tuple(chosen[:4])


def _next_visit(
    last: Visit,
    left: Counter[int],
    deck: list[int],
    knowledge: Knowledge,
    difficulty: Difficulty,
    copy_rate: float,
    rng: random.Random,
) -> Visit | None:
    patient, disease = last.patient, last.diseases[0]
    gap = _CHRONIC_GAP if disease.chronic else _ACUTE_GAP
    day = last.day + timedelta(days=int(rng.expovariate(1 / gap)) + 2)
    age = patient.age(day)
    if rng.random() < difficulty.same_label and left[disease.label] > 0:
        left[disease.label] -= 1
        copied = last if rng.random() < copy_rate else None
        return Visit(patient, day, age, _diseases(patient, disease, rng), last.hospital, copied)
    for place in range(len(deck) - 1, max(-1, len(deck) - 13), -1):
        label = deck[place]
        if left[label] <= 0:
            continue
        fitting = [other for other in knowledge.by_label[label] if other.fits(patient.sex, age)]
        if not fitting:
            continue
        left[label] -= 1
        del deck[place]
        other = _one_of(fitting, rng)
        if label in RESPIRATORY or other.season:
            day = _day(other, day, 365, rng)
            age = patient.age(day)
        return Visit(patient, day, age, _diseases(patient, other, rng), last.hospital)
    return None


def _day(disease: Disease, start: date, days: int, rng: random.Random) -> date:
    """A day from `start` on; respiratory infections and seasonal diseases are twice as frequent in their season."""
    months: Sequence[int] = ()
    if disease.label in RESPIRATORY or disease.season == "winter":
        months = WINTER
    elif disease.season == "summer":
        months = SUMMER
    while True:
        day = start + timedelta(days=rng.randrange(days))
        if not months or day.month in months or rng.random() < 0.5:
            return day
