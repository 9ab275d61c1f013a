"""How each hospital writes: its template, its preferred wordings and how often it sees each finding."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from emr_fl_deploy.corpus.difficulty import Difficulty
from emr_fl_deploy.corpus.knowledge import Finding, Knowledge, finding_probabilities
from emr_fl_deploy.corpus.resources import read_yaml

_FAVOURITE = 0.72
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
) -> Hospital:
    """A hospital with its own preferences, drawn once from the explicit generators."""
    return Hospital(
        name=name,
        style=style,
        layout=layout(style),
        wordings={
            term: _preference(finding, style["wording"], rng) for term, finding in knowledge.findings.items()
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
    finding: Finding, wording: Mapping[str, float], rng: random.Random
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """One favourite wording by the house's taste, and a little of all others."""
    groups: Sequence[tuple[str, tuple[str, ...]]] = (
        ("synonyms", finding.synonyms),
        ("colloquial", finding.colloquial),
        ("abbreviations", finding.abbreviations),
    )
    favourite, drawn = finding.term, rng.random()
    for name, wordings in groups:
        if drawn < wording[name]:
            favourite = rng.choice(wordings) if wordings else finding.term
            break
        drawn -= wording[name]
    forms = tuple(
        dict.fromkeys(
            [favourite, finding.term, *finding.synonyms, *finding.colloquial, *finding.abbreviations]
        )
    )
    rest = (1.0 - _FAVOURITE) / max(1, len(forms) - 1)
    weights = [_FAVOURITE if len(forms) > 1 else 1.0] + [rest] * (len(forms) - 1)
    return forms, tuple(accumulate(weights))
