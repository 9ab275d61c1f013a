"""Noise for evaluation: the slips of a busy outpatient clinic, at a chosen rate.

Kinds, with their share of the operations drawn: wrong character of the same or an easily confused sound (pinyin input),
wrong character of a similar shape (pen and OCR input), abbreviations and spoken wordings, dropped characters, stray or
doubled punctuation, spaces and full-width letters.

`make_noisy` mixes them as they occur. `noise_of_kind` makes one kind alone, for the curve of scores over kinds and strengths:

sound, shape      a character of the same or a similar sound, or of a similar shape
deletion          a character left out
insertion         a character of the same sound after the right one, as of a slip that was not taken back
abbreviation      a clinical term or unit in a shorter or Latin form (血压 → BP, 天 → d)
colloquial        a clinical term in spoken words (发热 → 身上发烫)
width             punctuation doubled or of the other width, full-width letters, spaces
template          what forms of hospital software leave between the sentences: empty blanks, boxes, notes of the printer
mixed             as `make_noisy`

All replacements come from the evaluation side of `confusions`, which training augmentation never uses. Typing errors may
hit any word, also a denied one or a drug's name, as they do in real notes; never touched are digits, placeholders and the
characters that carry the meaning: negations, doubt, sides, changes, persons, stages.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from emr_fl_shared.text.confusions import MEANINGFUL, homophones, lookalikes, term_pairs, unit_pairs
from emr_fl_shared.text.edits import Edit, apply_edits, fits
from emr_fl_shared.text.guard import Analysis, Guard
from emr_fl_shared.text.normalise import is_hanzi

KIND_WEIGHTS = {"sound": 0.38, "shape": 0.20, "wording": 0.14, "drop": 0.18, "debris": 0.10}
"""How often each kind is drawn; a wording touches about three characters, the others one."""

Kind = Literal[
    "sound", "shape", "deletion", "insertion", "abbreviation", "colloquial", "width", "template", "mixed"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
VERSION = 1
"""Of the builders: the same version, seed and texts give the same noise."""
_PLANNED: dict[Kind, dict[str, float]] = {
    "deletion": {"drop": 1.0},
    "width": {"debris": 1.0},
    "mixed": KIND_WEIGHTS,
}
"""The planner's kinds behind each kind of noise, where they have other names."""

_TEMPLATE = (
    "____",
    "□",
    "■",
    "（）",
    "：",
    "------",
    "（此处填写）",
    "（详见附页）",
    "（必填项）",
    "打印时间：",
    "医师签名：",
    "续页",
    "&nbsp;",
    "\\n",
    "　　",
)
"""Nothing of it names a finding or denies one."""

_NEVER = frozenset(("placeholder", "number", "sign", "level", "stage", "negation", "phrase")) | frozenset(
    ("uncertainty", "side", "trend", "experiencer", "demography")
)
_DOUBLED = {
    "，": ("，，", ",", " ，"),
    "。": ("。。", "."),
    "、": ("、、",),
    "：": (":", "：："),
    "；": (";",),
}


def make_noisy(texts: Sequence[str], *, rate: float = 0.10, seed: int) -> list[str]:
    """A noisy copy of every text.

    About `rate` of a text's characters are touched (replaced, dropped, or debris beside them). The noise of a text
    depends on `seed`, its index and itself only. Texts that offer too few places are touched less.
    Raises ValueError if `rate` is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError("rate must be between 0 and 1")
    guard = Guard(remember=0)
    return [
        apply_edits(text, plan_noise(guard.read(text), rate, random.Random(f"noise:{seed}:{index}"))[0])
        for index, text in enumerate(texts)
    ]


def noise_of_kind(
    analyses: Sequence[Analysis], kind: Kind, *, rate: float, seed: int
) -> tuple[list[str], float]:
    """A copy of each text with noise of one kind, and the share of all characters that it touched.

    `analyses`: the texts as `Guard.read` gives them, so that many kinds and rates share one reading. The share can be below
    `rate`: few terms have an abbreviation, say. A higher rate of a character kind adds slips to those of
    a lower one. Raises ValueError for a rate outside 0 … 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError("rate must be between 0 and 1")
    weights = _PLANNED.get(kind, {kind: 1.0})
    texts, touched = [], 0
    for index, analysis in enumerate(analyses):
        name = f"noise:{seed}:{index}" if kind == "mixed" else f"noise:{kind}:{seed}:{index}"
        edits, count = plan_noise(analysis, rate, random.Random(name), weights)
        texts.append(apply_edits(analysis.text, edits))
        touched += count
    return texts, touched / max(1, sum(len(analysis.text) for analysis in analyses))


def plan_noise(
    analysis: Analysis, rate: float, rng: random.Random, weights: Mapping[str, float] = KIND_WEIGHTS
) -> tuple[list[Edit], int]:
    """The edits for one text, not overlapping, and how many characters they touch; `weights`: how often each kind is drawn."""
    text = analysis.text
    budget = int(rate * len(text) + rng.random())
    planner = _Planner(analysis, rng)
    touched = 0
    kinds = dict(weights)
    while touched < budget and kinds:
        kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
        count = planner.add(kind, budget - touched)
        if count is None:
            del kinds[kind]
        else:
            touched += count
    return planner.edits, touched


class _Planner:
    """Chooses places for one text; no place is used twice."""

    def __init__(self, analysis: Analysis, rng: random.Random) -> None:
        self.text = analysis.text
        self.rng = rng
        self.edits: list[Edit] = []
        self.taken = bytearray(len(self.text))
        for start, end, kind in analysis.protected:
            if kind in _NEVER:
                self.taken[start:end] = b"\x01" * (end - start)
        wordings = term_pairs("test")
        units = unit_pairs("test")
        candidates = [
            (span.start, span.end, wordings[span.wording])
            for span in analysis.terms
            if span.wording in wordings
        ]
        candidates += [
            (span.start, span.end, units[span.wording]) for span in analysis.units if span.wording in units
        ]
        self.wordings = rng.sample(candidates, len(candidates))
        self.units = {span.start for span in analysis.units}
        self.places = rng.sample(range(len(self.text)), len(self.text))

    def add(self, kind: str, room: int) -> int | None:
        """Plan one more edit of this kind; how many characters it touches, or `None` if no place is left for it."""
        if kind in ("wording", "abbreviation", "colloquial"):
            return self._wording(room, kind)
        if kind == "template":
            return self._template(room)
        for index, place in enumerate(self.places):
            char = self.text[place]
            if self.taken[place]:
                continue
            replacement = self._character(kind, char)
            if replacement is not None:
                self.edits.append(Edit(place, place + 1, replacement))
                self.taken[place] = 1
                del self.places[index]
                return 1
        return None

    def _character(self, kind: str, char: str) -> str | None:
        """What stands in for one character, `None` if this kind has nothing for it."""
        if kind == "debris":
            if char in _DOUBLED:
                return self.rng.choice(_DOUBLED[char])
            if char.isascii() and char.isalpha():
                return chr(ord(char) + 0xFEE0)
            return f"{char} " if is_hanzi(char) and self.rng.random() < 0.2 else None
        if not is_hanzi(char) or char in MEANINGFUL:
            return None
        if kind == "drop":
            return ""
        others = (lookalikes if kind == "shape" else homophones)("test").get(char)
        if not others:
            return None
        return (char if kind == "insertion" else "") + self.rng.choice(others)

    def _template(self, room: int) -> int | None:
        """Debris behind a mark that ends a clause; a long piece in little room only sometimes, as for wordings."""
        while self.places:
            place = self.places.pop()
            if self.text[place] not in _DOUBLED or self.taken[place]:
                continue
            debris = self.rng.choice(_TEMPLATE)
            if self.rng.random() >= room / len(debris):
                continue
            self.edits.append(Edit(place, place + 1, self.text[place] + debris))
            self.taken[place] = 1
            return len(debris)
        return None

    def _wording(self, room: int, register: str) -> int | None:
        while self.wordings:
            start, end, others = self.wordings.pop()
            length = end - start
            # a unit stands inside its number's protected span; every other wording needs a free place
            if start not in self.units and any(self.taken[start:end]):
                continue
            choices = [other for other in others if fits(self.text, start, end, other) or start in self.units]
            if register != "wording":
                short = register == "abbreviation"
                choices = [other for other in choices if _is_short(other, self.text[start:end]) is short]
            # a long wording in little room only sometimes, so that the rate is right on average
            if not choices or self.rng.random() >= room / length:
                continue
            self.edits.append(Edit(start, end, self.rng.choice(choices)))
            self.taken[start:end] = b"\x01" * length
            return length
        return None


def _is_short(form: str, wording: str) -> bool:
    """Whether a form of a wording is an abbreviation: shorter, or with Latin letters."""
    return len(form) < len(wording) or any(char.isascii() and char.isalpha() for char in form)
