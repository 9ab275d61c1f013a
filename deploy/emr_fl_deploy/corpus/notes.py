"""From a clinical picture to the note that a hospital's physician would type."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from emr_fl_deploy.corpus.difficulty import Difficulty
from emr_fl_deploy.corpus.hospitals import Hospital
from emr_fl_deploy.corpus.picture import Picture
from emr_fl_deploy.corpus.resources import read_yaml

_ESSENTIAL = ("onset", "negatives")
_FEWEST_NEGATED = 3
_NUMBER = re.compile(r"\d+")
_SPAN = re.compile(r"(\d+)(个月|天|日|周|月|年|小时)")


@dataclass(slots=True)
class Note:
    """The three text fields of a note, without identifiers; how many symptoms and signs they state and deny."""

    chief: str = field(default="", repr=False)
    present: str = field(default="", repr=False)
    past: str = field(default="", repr=False)
    stated: int = 0
    denied: int = 0

    def __len__(self) -> int:
        return len(self.chief) + len(self.present) + len(self.past)


def write_note(picture: Picture, hospital: Hospital, difficulty: Difficulty, rng: random.Random) -> Note:
    """The note in the hospital's template. Optional parts are added while the drawn length allows."""
    style = hospital.style
    mean, spread = difficulty.length
    target = int(min(difficulty.longest, max(55.0, rng.gauss(mean, spread))))
    words = {term: hospital.word(term, rng) for term in (*picture.symptoms, *picture.signs, *picture.results)}
    complaints = [words[term] for term in (*picture.symptoms, *picture.signs, *picture.results)] or ["不适"]
    chief = _chief(complaints, picture, hospital, rng)
    told = [words[term] for term in picture.symptoms] or complaints[:1]
    if len(told) > 2 and rng.random() < 0.5:
        told = told[1:]  # what the chief complaint says is not always told again
    parts = {
        "onset": _fill(
            hospital.pattern("onset", rng),
            list=style["separator"].join(told),
            d=duration(picture.course, hospital),
        ),
        "negatives": "",
    }
    room = target - len(chief) - len(parts["onset"])
    optional = _optional(picture, words, hospital, rng)
    past = _past(picture, hospital, rng)
    must_past = [text for text, hint in past if hint]
    room -= sum(len(text) + 1 for text in must_past)
    negated = [hospital.word(term, rng) for term in picture.negated]
    # at most about half of the room that is left goes to what was denied, the rest to values and treatment
    while len(negated) > _FEWEST_NEGATED and sum(len(word) + 1 for word in negated) > max(14, 0.62 * room):
        negated.pop()
    if negated:
        parts["negatives"] = _fill(hospital.pattern("negatives", rng), list=style["separator"].join(negated))
    room -= len(parts["negatives"]) + 1
    for name, text in optional:
        if len(text) + 1 <= room:
            parts[name] = text
            room -= len(text) + 1
    chosen = list(must_past)
    for text, hint in past:
        if not hint and len(text) + 1 <= room:
            chosen.append(text)
            room -= len(text) + 1
    ordered = [parts[name] for name in style["order"] if parts.get(name)]
    present = style["period"].join(ordered)
    if picture.named:
        present += style["comma"] + _fill(hospital.pattern("named", rng), dx=picture.named)
    stated = len(told) + (len(picture.signs) if "signs" in parts else 0)
    ending = "。" if chosen else ""
    return Note(chief, present + "。", style["comma"].join(chosen) + ending, stated, len(negated))


def copy_forward(note: Note, picture: Picture, hospital: Hospital, rng: random.Random) -> Note:
    """A later visit whose physician copied the last note and typed a new chief complaint only."""
    complaints = [hospital.word(term, rng) for term in (*picture.symptoms, *picture.signs, *picture.results)]
    return Note(
        _chief(complaints or ["复诊"], picture, hospital, rng),
        hospital.pattern("again", rng) + note.present,
        note.past,
        note.stated,
        note.denied,
    )


def duration(course: str, hospital: Hospital) -> str:
    """`3天` as the hospital writes it: 3天, 3d or 三天."""
    form = hospital.style["duration"]
    language = read_yaml("language.yaml")
    if form == "short":
        return _SPAN.sub(lambda m: m[1] + str(language["units"].get(m[2].removeprefix("个"), m[2])), course)
    if form == "characters":
        return _NUMBER.sub(lambda m: str(language["digits"].get(m[0], m[0])), course)
    return course


def _fill(pattern: str, **values: str) -> str:
    return pattern.format(**values)


def _chief(complaints: Sequence[str], picture: Picture, hospital: Hospital, rng: random.Random) -> str:
    pattern = hospital.pattern("chief", rng)
    if "{s2}" in pattern and len(complaints) < 2:
        pattern = "{s}{d}"
    language = read_yaml("language.yaml")
    return _fill(
        pattern,
        s=complaints[0],
        s2=complaints[1] if len(complaints) > 1 else "",
        d=duration(picture.course, hospital),
        d2=duration(rng.choice(language["recent"]), hospital),
    )


def _optional(
    picture: Picture, words: dict[str, str], hospital: Hospital, rng: random.Random
) -> list[tuple[str, str]]:
    """(part of the template, text) in the order in which they claim room: a random one."""
    language, separator = read_yaml("language.yaml"), hospital.style["separator"]
    found: list[tuple[str, str]] = []
    if picture.signs:
        text = separator.join(words[term] for term in picture.signs)
        found.append(("signs", _fill(hospital.pattern("signs", rng), list=text)))
    results = [words[term] for term in picture.results]
    for name, value, unit in picture.labs:
        results.append(
            _fill_first(rng.choice(language["normal_result"]), name)
            if value is None
            else f"{name}{_number(value)}{'×' if unit.startswith('10^') else ''}{unit}"
        )
    if results:
        found.append(
            ("tests", _fill(hospital.pattern("tests", rng), list=hospital.style["comma"].join(results[:3])))
        )
    if picture.vitals:
        text = " ".join(_vitals(picture.vitals, hospital.style["vital_style"], language["vitals"]))
        found.append(("vitals", _fill(hospital.pattern("vitals", rng), list=text)))
    if picture.drug:
        effect = rng.choice(language["effects"])
        found.append(
            ("treatment", _fill(hospital.pattern("treatment", rng), drug=picture.drug, effect=effect))
        )
    rng.shuffle(found)
    return found


def _fill_first(pattern: str, value: str) -> str:
    return pattern.format(value)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _vitals(vitals: dict[str, float], form: str, table: dict[str, list[object]]) -> list[str]:
    column = {"long": 4, "abbreviated": 5, "bare": 6}[form]
    texts: list[str] = []
    for name, entry in table.items():
        if name not in vitals or name == "舒张压":
            continue
        value = f"{vitals[name]:.{entry[2]}f}"
        if name == "血氧":
            value = f"{min(100.0, vitals[name]):.0f}"
        if name == "收缩压":
            low = min(vitals["舒张压"], vitals[name] - 15)
            value += f"/{low:.0f}"
        texts.append(f"{entry[column]}{value}" + (str(entry[3]) if form != "bare" else ""))
    return texts


def _past(picture: Picture, hospital: Hospital, rng: random.Random) -> list[tuple[str, bool]]:
    """Sentences of the past history; `True` for those that hint at a present disease and must stand."""
    style = hospital.style
    parts: list[tuple[str, bool]] = []
    years = str(rng.randint(1, max(1, min(20, picture.age // 2))))
    for name in picture.known:
        parts.append((_fill(hospital.pattern("known", rng), dx=name, n=years), True))
    if picture.long_term_drugs:
        drugs = style["separator"].join(picture.long_term_drugs[:2])
        parts.append((_fill(hospital.pattern("drugs", rng), drug=drugs), True))
    if picture.habits:
        text = style["separator"].join(hospital.word(term, rng) for term in picture.habits[:2])
        parts.append((_fill(hospital.pattern("history", rng), list=text), True))
    if picture.resolved:
        years = str(rng.randint(1, max(1, min(15, picture.age // 2))))
        text = picture.resolved
        if not text.endswith("后"):
            text = _fill(hospital.pattern("resolved", rng), dx=text, n=years)
        parts.append((text, True))
    if picture.denied:
        parts.append(
            (_fill(hospital.pattern("denied", rng), list=style["separator"].join(picture.denied)), False)
        )
    elif not parts:
        parts.append((hospital.pattern("healthy", rng), False))
    if rng.random() < 0.15:
        parts.append((hospital.pattern("allergy", rng), False))
    return parts
