"""What is found at a visit, before any wording: the clinical picture."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emr_fl_deploy.corpus.difficulty import Difficulty
from emr_fl_deploy.corpus.hospitals import Hospital
from emr_fl_deploy.corpus.knowledge import Disease, Knowledge
from emr_fl_deploy.corpus.population import Visit
from emr_fl_deploy.corpus.resources import read_yaml

_FURTHER_FINDINGS = 2
_FURTHER_FACTOR = 0.6
_STATED_VITAL = 0.5
_STATED_LAB = 0.4
_PRESSURE = ("收缩压", "舒张压")
_YOUNGEST_PAST, _ADULT = 4, 20
_CHRONIC_DENIED = ("高血压", "糖尿病", "冠心病", "肝炎", "结核")


@dataclass(slots=True)
class Picture:
    """Findings by lexicon term, values, drugs and past of one visit."""

    symptoms: list[str] = field(default_factory=list, repr=False)
    signs: list[str] = field(default_factory=list, repr=False)
    results: list[str] = field(default_factory=list, repr=False)
    habits: list[str] = field(default_factory=list, repr=False)
    negated: list[str] = field(default_factory=list, repr=False)
    vitals: dict[str, float] = field(default_factory=dict, repr=False)
    labs: list[tuple[str, float | None, str]] = field(default_factory=list, repr=False)
    course: str = field(default="", repr=False)
    drug: str = field(default="", repr=False)
    long_term_drugs: list[str] = field(default_factory=list, repr=False)
    known: list[str] = field(default_factory=list, repr=False)
    resolved: str = field(default="", repr=False)
    denied: list[str] = field(default_factory=list, repr=False)
    named: str = field(default="", repr=False)
    age: int = 0

    def add(self, term: str, kind: str) -> None:
        group = {"symptom": self.symptoms, "sign": self.signs, "history": self.habits}.get(kind, self.results)
        group.append(term)


def draw_picture(
    visit: Visit, hospital: Hospital, knowledge: Knowledge, difficulty: Difficulty, rng: random.Random
) -> Picture:
    """The picture of a visit at its hospital."""
    first, *others = visit.diseases
    sex = visit.patient.sex
    picture = Picture(age=visit.age)
    present = (
        _findings(first, sex, hospital, knowledge, difficulty.positives, 1.0, rng) or list(first.findings)[:1]
    )
    for disease in others:
        present += _findings(disease, sex, hospital, knowledge, _FURTHER_FINDINGS, _FURTHER_FACTOR, rng)
    if rng.random() < difficulty.unrelated:
        stranger = rng.choice(knowledge.diseases)
        complaints = [
            t for t in stranger.findings if t in knowledge.findings and knowledge.findings[t].deniable
        ]
        if complaints and stranger.fits(visit.patient.sex, visit.age):
            present.append(rng.choice(complaints))
    for term in dict.fromkeys(present):
        finding = knowledge.findings.get(term)
        picture.add(term, finding.kind if finding else "symptom")
    picture.negated = _negated(visit, set(present), knowledge, difficulty, rng)
    _values(picture, visit.diseases, difficulty, rng)
    language = read_yaml("language.yaml")
    picture.course = rng.choice(first.course or language["courses"])
    if first.drugs and rng.random() < 0.4:
        picture.drug = rng.choice(first.drugs)
    for disease in others:
        if disease.chronic and rng.random() < difficulty.known_disease:
            picture.known.append(rng.choice(disease.names))
        elif disease.drugs and rng.random() < 0.65:
            picture.long_term_drugs.append(rng.choice(disease.drugs))
    if rng.random() < difficulty.named_diagnosis:
        picture.named = rng.choice(rng.choice(visit.diseases).names)
    _past(picture, visit, knowledge, difficulty, language["surgery"], rng)
    return picture


def _findings(
    disease: Disease,
    sex: str,
    hospital: Hospital,
    knowledge: Knowledge,
    most: int,
    factor: float,
    rng: random.Random,
) -> list[str]:
    stated = hospital.probabilities[f"{disease.label}/{disease.zh}"]
    pairs = [pair for pair in stated if knowledge.findings[pair[0]].fits(sex)]
    drawn = [term for term, p in pairs if rng.random() < p * factor]
    if len(drawn) < min(2, most) and pairs:
        drawn.append(rng.choices(pairs, weights=[p for _, p in pairs])[0][0])
    rng.shuffle(drawn)
    return drawn[:most]


def _askable(terms: Iterable[str], sex: str, knowledge: Knowledge) -> list[str]:
    """Those of the terms that a physician may ask a patient of this sex for."""
    findings = (knowledge.findings.get(term) for term in terms)
    return [
        finding.term for finding in findings if finding is not None and finding.deniable and finding.fits(sex)
    ]


def _negated(
    visit: Visit, present: set[str], knowledge: Knowledge, difficulty: Difficulty, rng: random.Random
) -> list[str]:
    """Findings that the physician asked for in vain: those of diseases that are easily confused with this one."""
    first, sex = visit.diseases[0], visit.patient.sex
    wanted = rng.randint(*difficulty.negated)
    typical = _askable(first.negatives, sex, knowledge)
    confused = [term for label in first.confusable for term in knowledge.deniable.get((label, sex), ())]
    chosen: dict[str, None] = {}
    for _ in range(wanted * 4):
        if len(chosen) == wanted:
            break
        pool: Sequence[str] = typical if typical and rng.random() < 0.5 else confused or typical
        if not pool:
            pool = knowledge.deniable[rng.choice(knowledge.labels), sex] or typical
        if pool:
            term = rng.choice(pool)
            if term not in present:
                chosen[term] = None
    return list(chosen)


def _values(
    picture: Picture, diseases: Sequence[Disease], difficulty: Difficulty, rng: random.Random
) -> None:
    normal: Mapping[str, Sequence[object]] = read_yaml("language.yaml")["vitals"]
    for place, disease in enumerate(diseases):
        share = _STATED_VITAL * (1.0 if place == 0 else 0.7)
        pressure = rng.random() < share
        shifted = rng.random() >= difficulty.normal
        for name, (mean, sd) in disease.vitals.items():
            if name not in normal or name in picture.vitals:
                continue
            if pressure if name in _PRESSURE else rng.random() < share:
                usual = normal[name]
                centre, spread = (mean, sd) if shifted else (float(str(usual[0])), float(str(usual[1])))
                picture.vitals[name] = rng.gauss(centre, spread)
        for lab, (mean, sd, unit) in disease.labs.items():
            if len(picture.labs) < 2 and rng.random() < _STATED_LAB:
                usual_result = rng.random() < difficulty.normal
                picture.labs.append((lab, None if usual_result else max(mean / 5, rng.gauss(mean, sd)), unit))
    for name in ("体温", "收缩压"):
        if name not in picture.vitals and rng.random() < 0.12:
            picture.vitals[name] = rng.gauss(float(str(normal[name][0])), float(str(normal[name][1])))
    if any(name in picture.vitals for name in _PRESSURE):
        for name in _PRESSURE:
            usual = normal[name]
            picture.vitals.setdefault(name, rng.gauss(float(str(usual[0])), float(str(usual[1]))))


def _past(
    picture: Picture,
    visit: Visit,
    knowledge: Knowledge,
    difficulty: Difficulty,
    surgery: Mapping[str, Sequence[str]],
    rng: random.Random,
) -> None:
    own, sex = {disease.label for disease in visit.diseases}, visit.patient.sex
    if visit.age >= _YOUNGEST_PAST and rng.random() < difficulty.resolved:
        over = [rng.choice(knowledge.curable) for _ in range(6)] if knowledge.curable else []
        fitting = [d for d in over if d.label not in own and d.sex in ("any", sex) and d.ages[0] < visit.age]
        operations = [*surgery["any"], *surgery[sex]] if visit.age >= _ADULT else []
        if operations and (not fitting or rng.random() < 0.2):
            picture.resolved = rng.choice(operations)
        elif fitting:
            picture.resolved = fitting[0].zh
    named = "".join(name for disease in visit.diseases for name in disease.names) + "".join(picture.known)
    if not picture.long_term_drugs and rng.random() < 0.4 and not own & {1, 2, 7}:
        denied = [name for name in _CHRONIC_DENIED if name not in named and name[:2] not in picture.resolved]
        picture.denied = denied[: rng.randint(2, 3)]
