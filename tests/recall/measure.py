"""The real cleaner over the generated set: recall by kind with Wilson intervals, false alarms, the protected lexicon.

An identifier is *found* if every letter, digit and Chinese character of it is replaced; separators inside it (blanks, hyphens, dots,
brackets, plus signs) may stay. It counts under whatever kind the cleaner put it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emr_fl_shared.deidentify import Deidentifier, KindRecall, Planted, recognisers
from emr_fl_shared.deidentify.measurement import removed_and_right
from emr_fl_shared.deidentify.roster import Roster
from recall.halves import Half
from recall.notes import GeneratedNote, clean_notes, notes, protected_sentences

KIND_OF_SLOT: Mapping[str, str] = {
    "patient": "PATIENT_NAME",
    "relative": "RELATIVE_NAME",
    "staff": "STAFF_NAME",
    "titled": "STAFF_NAME",
    "id_card": "ID_CARD",
    "permit": "PERMIT",
    "passport": "PASSPORT",
    "mobile": "MOBILE",
    "landline": "LANDLINE",
    "address": "ADDRESS",
    "origin": "ADDRESS",
    "social": "INSURANCE_NUM",
    "insurance": "INSURANCE_NUM",
    "mrn": "RECORD_NUM",
    "visit": "VISIT_NUM",
    "bed": "BED_NUM",
    "imaging": "EXAM_NUM",
    "pathology": "EXAM_NUM",
    "hospital": "HOSPITAL",
    "department": "DEPARTMENT",
    "employer": "EMPLOYER",
    "school": "SCHOOL",
    "bank": "BANK_CARD",
    "plate": "PLATE",
    "email": "EMAIL",
    "qq": "QQ",
    "wechat": "WECHAT",
    "date": "DATE",
    "daymonth": "DATE",
    "age": "AGE90",
}
"""Kinds as the cleaner calls them; telephones are counted in two."""
# The names of the row's columns as an export's identifier columns are called after reading.
_COLUMNS = {"patient": "patient_name", "id_card": "id_card", "mrn": "record_number", "visit": "visit_number"}
NAMES = ("PATIENT_NAME", "RELATIVE_NAME", "STAFF_NAME")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "names": NAMES,
    "record numbers": ("RECORD_NUM", "VISIT_NUM", "BED_NUM", "EXAM_NUM"),
}


@dataclass(frozen=True)
class Miss:
    """A planted identifier of which something is left, for mending rules on the development half."""

    kind: str
    note: str = field(repr=False)
    start: int
    end: int


@dataclass(frozen=True)
class Measured:
    """Recall by kind, then of `GROUPS` and of all; what was missed."""

    rows: tuple[KindRecall, ...]
    misses: tuple[Miss, ...] = field(repr=False)
    notes: int

    def row(self, kind: str) -> KindRecall:
        return next(row for row in self.rows if row.kind == kind)


def measure(half: Half, count: int, seeds: Sequence[int], *, known: bool) -> Measured:
    """Recall on `count` notes for each seed; with `known` the row's own columns and the hospital's staff roster help."""
    return measure_notes((notes(half, count, seed) for seed in seeds), known=known)


def measure_notes(
    hospitals: Iterable[tuple[Sequence[GeneratedNote], Sequence[str]]], *, known: bool
) -> Measured:
    """Recall on the notes of hospitals, each with its staff roster; `known` as in `measure`."""
    planted: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    right: Counter[str] = Counter()
    misses: list[Miss] = []
    total = 0
    for written, roster in hospitals:
        total += len(written)
        cleaner = _cleaner(roster if known else ())
        for note in written:
            columns = {_COLUMNS[slot]: value for slot, value in note.row.items()} if known else {}
            _, spans = cleaner.text(note.text, columns)
            truth = _truth(note)
            for (kind, gone, same), (start, end, _) in zip(
                removed_and_right(Planted(note.text, truth), spans), truth, strict=True
            ):
                planted[kind] += 1
                removed[kind] += gone
                right[kind] += same
                if not gone:
                    misses.append(Miss(kind, note.text, start, end))
    rows = [KindRecall(kind, planted[kind], removed[kind], right[kind]) for kind in sorted(planted)]
    return Measured(with_groups(rows), tuple(misses), total)


def with_groups(rows: Sequence[KindRecall]) -> tuple[KindRecall, ...]:
    """The rows of all kinds, then those of `GROUPS` and of all."""
    groups = [_sum(name, rows, kinds) for name, kinds in GROUPS.items()]
    return (*rows, *groups, _sum("all", rows, [row.kind for row in rows]))


def false_alarms(half: Half, count: int, seed: int) -> tuple[int, int, list[str]]:
    """Findings and characters of `count` clean texts, and what was found; the roster of the seed's hospital is in use."""
    _, roster = notes(half, 1, seed)
    return false_alarms_in(clean_notes(half, count, seed), roster)


def false_alarms_in(texts: Iterable[str], roster: Iterable[str]) -> tuple[int, int, list[str]]:
    """Findings and characters of clean texts, and what was found, with a staff roster in use."""
    cleaner = _cleaner(roster)
    found: list[str] = []
    characters = 0
    for text in texts:
        _, spans = cleaner.text(text)
        characters += len(text)
        found += [text[span.start : span.end] for span in spans]
    return len(found), characters, found


def protected_hits() -> tuple[int, list[str]]:
    """Sentences around protected terms, and the terms of which the cleaner removed something."""
    cleaner = _cleaner(())
    sentences = hits = 0
    terms: list[str] = []
    for text, start, end in protected_sentences():
        sentences += 1
        _, spans = cleaner.text(text)
        if any(span.start < end and start < span.end for span in spans):
            hits += 1
            terms.append(text)
    return sentences, terms


def _cleaner(roster: Iterable[str]) -> Deidentifier:
    staff = tuple(roster)
    return Deidentifier([*recognisers(), *([Roster(staff)] if staff else [])], key=bytes(32))


def _truth(note: GeneratedNote) -> tuple[tuple[int, int, str], ...]:
    return tuple((one.start, one.end, KIND_OF_SLOT[one.kind]) for one in note.planted)


def _sum(name: str, rows: Iterable[KindRecall], kinds: Sequence[str]) -> KindRecall:
    of = [row for row in rows if row.kind in kinds]
    return KindRecall(name, sum(r.planted for r in of), sum(r.removed for r in of), sum(r.right for r in of))
