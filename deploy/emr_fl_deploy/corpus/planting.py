"""Identifiers inside the free text, and where exactly they stand."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emr_fl_deploy.corpus.notes import Note
from emr_fl_deploy.corpus.resources import read_yaml

_FIELDS = {"lead": "present_illness", "tail": "present_illness", "past": "past_history"}
_KINDS = {
    "landline": "PHONE",
    "record_number": "RECORD_NUM",
    "visit_number": "VISIT_NUM",
    "exam_number": "EXAM_NUM",
    "insurance_number": "INSURANCE_NUM",
    "bed": "BED_NUM",
    "age_over_90": "AGE90",
}  # as de-identification names them; the others are the same in capitals


@dataclass(frozen=True, slots=True)
class Planted:
    """An identifier in a cell: `[start, end)` in code points."""

    column: str
    start: int
    end: int
    kind: str


@dataclass(slots=True)
class Kinds:
    """Deals the kinds like cards, so that each occurs as often as its weight says, even in a small file."""

    rng: random.Random = field(repr=False)
    deck: list[str] = field(default_factory=list, repr=False)

    def deal(self) -> str:
        if not self.deck:
            self.deck = [
                kind
                for kind, entry in read_yaml("identities.yaml")["phrases"].items()
                for _ in range(entry["weight"])
            ]
            self.rng.shuffle(self.deck)
        return self.deck.pop()


def plant(
    note: Note, wanted: int, kinds: Kinds, value_of: Callable[[str], str], rng: random.Random
) -> tuple[Note, list[Planted]]:
    """The note with `wanted` identifiers in it: before or after the present illness, or after the past history.

    A field that is empty is not filled; then the identifier is left out.
    """
    phrases: Mapping[str, Mapping[str, Any]] = read_yaml("identities.yaml")["phrases"]
    cells = {"present_illness": note.present, "past_history": note.past}
    planted: list[Planted] = []
    for kind in dict.fromkeys(kinds.deal() for _ in range(wanted)):
        entry = phrases[kind]
        places = [place for place in ("lead", "tail", "past") if place in entry and cells[_FIELDS[place]]]
        if not places:
            continue
        place = rng.choice(places)
        column = _FIELDS[place]
        before, after = str(rng.choice(entry[place])).split("{}")
        value, text = value_of(kind), cells[column]
        written = _KINDS.get(kind, kind.upper())
        if place == "lead":
            start = len(before)
            shift = len(before) + len(value) + len(after)
            planted = [
                Planted(p.column, p.start + shift, p.end + shift, p.kind) if p.column == column else p
                for p in planted
            ]
            cells[column] = before + value + after + text
        else:
            start = len(text) + len(before)
            cells[column] = text + before + value + after + "。"
        planted.append(Planted(column, start, start + len(value), written))
    return Note(note.chief, cells["present_illness"], cells["past_history"]), planted
