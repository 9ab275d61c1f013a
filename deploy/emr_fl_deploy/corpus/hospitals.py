"""How each hospital writes: its template, its preferred wordings and how often it sees each finding."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from emr_fl_deploy.corpus.difficulty import Difficulty
from emr_fl_deploy.corpus.knowledge import Finding, Knowledge, finding_probabilities
from emr_fl_deploy.corpus.resources import read_yaml

_FAVOURITE, _OWN_TERM, _OTHERS = 0.76, 0.16, 0.08
_PARTS = (
    *(
        "order",
        "chief",
        "onset",
        "negatives",
        "vitals",
        "signs",
        "tests",
        "treatment",
        "history",
        "drugs",
        "known",
    ),
    *(
        "resolved",
        "denied",
        "healthy",
        "allergy",
        "named",
        "again",
        "separator",
        "period",
        "comma",
        "duration",
    ),
    *(
        "vital_style",
        "wording",
        "codes",
        "code_separator",
        "habit",
        "encoding",
        "dates",
        "ages",
        "sexes",
        "headers",
    ),
)


@dataclass(frozen=True)
class Layout:
    """How a file of the federation is written: headers in order, encoding, forms of dates, ages, sexes, codes."""

    headers: Mapping[str, str]
    encoding: str
    dates: str
    ages: str
    sexes: tuple[str, str]
    codes: str
    code_separator: str


@dataclass(frozen=True)
class Hospital:
    """One hospital of the sample federation.

    `wordings[term]` = (wordings, cumulative weights); `probabilities[label/disease]` = (finding, probability) pairs.
    """

    name: str
    style: Mapping[str, Any]
    layout: Layout
    wordings: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]]
    probabilities: Mapping[str, tuple[tuple[str, float], ...]]

    def word(self, term: str, rng: random.Random) -> str:
        """The finding as this hospital would write it."""
        entry = self.wordings.get(term)
        if entry is None:
            return term
        return rng.choices(entry[0], cum_weights=entry[1])[0]

    def pattern(self, part: str, rng: random.Random) -> str:
        return str(rng.choice(self.style[part]))


def layout(style: Mapping[str, Any]) -> Layout:
    """The file layout of a profile."""
    return Layout(
        headers=dict(style["headers"]),
        encoding=str(style["encoding"]),
        dates=str(style["dates"]),
        ages=str(style["ages"]),
        sexes=(str(style["sexes"][0]), str(style["sexes"][1])),
        codes=str(style["codes"]),
        code_separator=str(style["code_separator"]),
    )


def server_layout() -> Layout:
    """The layout of the coordinator's held-out sets."""
    return layout(read_yaml("sites.yaml")["server"])


def training_styles(sites: int, rng: random.Random) -> list[Mapping[str, Any]]:
    """The profiles in order, then new combinations of their parts; the cross-site profile is never used here."""
    profiles = read_yaml("sites.yaml")["sites"]
    styles: list[Mapping[str, Any]] = list(profiles[:sites])
    while len(styles) < sites:
        base = dict(rng.choice(profiles))
        for part in _PARTS:
            if part not in ("order", "headers"):
                base[part] = rng.choice(profiles)[part]
        base["order"] = rng.sample(base["order"], len(base["order"]))
        styles.append(base)
    return styles


def cross_site_style() -> Mapping[str, Any]:
    """The profile of the hospital that never trains."""
    style: Mapping[str, Any] = read_yaml("sites.yaml")["cross_site"]
    return style


def found_hospital(
    name: str,
    style: Mapping[str, Any],
    knowledge: Knowledge,
    difficulty: Difficulty,
    generator: np.random.Generator,
    rng: random.Random,
    *,
    unlike: Sequence[Hospital] = (),
) -> Hospital:
    """A hospital with its own preferences, drawn once from the explicit generators.

    Its favourite wordings are none of those of the hospitals `unlike`, where the lexicon has another one.
    """
    taken = {
        term: {other.wordings[term][0][0] for other in unlike if term in other.wordings}
        for term in knowledge.findings
    }
    return Hospital(
        name=name,
        style=style,
        layout=layout(style),
        wordings={
            term: _preference(finding, style["wording"], taken[term], rng)
            for term, finding in knowledge.findings.items()
        },
        probabilities=finding_probabilities(
            knowledge,
            generator,
            base=difficulty.base,
            per_sharing=difficulty.per_sharing,
            prior=difficulty.prior,
        ),
    )


def _preference(
    finding: Finding, taste: Mapping[str, float], taken: Collection[str], rng: random.Random
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """One favourite wording by the house's taste, the lexicon's own term now and then, the others rarely."""
    groups = {
        "synonyms": finding.synonyms,
        "colloquial": finding.colloquial,
        "abbreviations": finding.abbreviations,
    }
    forms = tuple(dict.fromkeys([finding.term, *(word for words in groups.values() for word in words)]))
    favourite, drawn = finding.term, rng.random()
    for name, words in groups.items():
        if drawn < taste[name]:
            favourite = rng.choice(words) if words else finding.term
            break
        drawn -= taste[name]
    free = [form for form in forms if form not in taken]
    if favourite in taken and free:
        favourite = rng.choice(free)
    weights = dict.fromkeys(forms, _OTHERS / len(forms))
    weights[finding.term] += _OWN_TERM
    weights[favourite] += _FAVOURITE
    ordered = sorted(weights, key=lambda form: form != favourite)  # the favourite first
    return tuple(ordered), tuple(accumulate(weights[form] for form in ordered))
