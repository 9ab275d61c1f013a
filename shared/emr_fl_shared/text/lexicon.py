"""The medical lexicon: findings, general clinical wordings, diseases, drugs, eponyms and the cues of the guard.

Everything is read from `resources/lexicon`, files that a clinician can review:

- `findings/*.tsv` and `general.tsv`: a concept a row with its wordings. `synonyms`, `colloquial` and `abbreviations` are
  for training; `noise_forms` are kept for the evaluation noise and are never produced in training;
- `diseases/*.yaml`: names, aliases, abbreviations and treatments (the rest belongs to the sample corpus);
- `cues.tsv`: what marks negation, doubt, time, change, side …; `protected.tsv`: drugs and eponyms.

`Lexicon.matches` finds all wordings in a text in one pass (Aho–Corasick).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

CUE_KINDS = (
    "negation",
    "pseudo_negation",
    "uncertainty",
    "experiencer",
    "time",
    "trend",
    "severity",
    "side",
    "position",
    "demography",
    "allergy",
    "route",
)
UNIT = "unit"
CLINICAL_KINDS = frozenset(("vital", "laboratory", "examination"))
"""Categories of `general.tsv` that say something about the patient; the others are the prose around it."""


@dataclass(frozen=True, slots=True)
class Term:
    """One concept and its wordings. `kind`: symptom, sign, laboratory, imaging, history … or a general category."""

    term: str
    kind: str
    synonyms: tuple[str, ...] = ()
    colloquial: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    noise_forms: tuple[str, ...] = ()
    en: str = ""
    is_finding: bool = False

    @property
    def training_wordings(self) -> tuple[str, ...]:
        """Every wording that training text and training augmentation may use, the main one first."""
        return (self.term, *self.synonyms, *self.colloquial, *self.abbreviations)


@dataclass(frozen=True, slots=True)
class DiseaseNames:
    """What a disease is called and treated with; the label is the taxonomy's id."""

    label: int
    zh: str
    aliases: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    treatments: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.zh, *self.aliases, *self.abbreviations)


@dataclass(slots=True, eq=False)
class Entry:
    """All that one wording may mean, whatever its letter case."""

    wording: str  # as the files spell it first
    concepts: list[str] = field(default_factory=list)  # main terms of the concepts with this wording
    cues: list[str] = field(default_factory=list)  # kinds of cue
    names: list[str] = field(default_factory=list)  # "diagnosis", "drug", "eponym"
    # derived from the above when the lexicon is complete, because they are asked for at every match
    value: str = ""  # the first concept, else the wording in lower case
    denies: bool = False  # a negation and nothing else
    special: bool = False  # a cue or a name
    opens_with_negation: bool = False
    clinical: bool = False  # a finding, vital sign, laboratory value or examination
    has_digit: bool = False
    latin_start: bool = False
    latin_end: bool = False

    def complete(self) -> None:
        self.value = self.concepts[0] if self.concepts else self.wording.lower()
        self.denies = "negation" in self.cues and not self.concepts and not self.names
        self.special = bool(self.cues or self.names)
        self.opens_with_negation = len(self.wording) > 1 and self.wording[0] in "无未没不非否"
        self.has_digit = any(char.isdigit() for char in self.wording)
        self.latin_start, self.latin_end = _latin(self.wording[0]), _latin(self.wording[-1])


class Match(NamedTuple):
    """A wording found at text[start:end]."""

    start: int
    end: int
    entry: Entry

    @property
    def wording(self) -> str:
        return self.entry.wording


class Lexicon:
    """All wordings with a matcher. Build it once with `load_lexicon`."""

    def __init__(
        self,
        terms: Iterable[Term],
        diseases: Iterable[DiseaseNames],
        cues: Mapping[str, tuple[str, ...]],
        protected: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.terms: dict[str, Term] = {}
        for term in terms:
            # the first row of a concept wins: findings come before general wordings
            self.terms.setdefault(term.term, term)
        self.diseases = tuple(diseases)
        self.cues = dict(cues)
        self.protected = dict(protected)
        self.entries: dict[str, Entry] = {}
        self.units: dict[str, str] = {}
        self._collect()
        self._automaton = self._build_automaton()

    def findings(self) -> Iterator[Term]:
        """The concepts of `findings/*.tsv`."""
        return (term for term in self.terms.values() if term.is_finding)

    def _collect(self) -> None:
        for term in self.terms.values():
            for wording in (*term.training_wordings, *term.noise_forms):
                if term.kind == UNIT:
                    self.units.setdefault(wording, term.term)
                elif matchable(wording) and term.term not in (entry := self._entry(wording)).concepts:
                    entry.concepts.append(term.term)
        for kind, wordings in self.cues.items():
            for wording in wordings:
                self._entry(wording).cues.append(kind)
        for kind, wordings in self.protected.items():
            for wording in wordings:
                self._name(wording, kind)
        for disease in self.diseases:
            for name in disease.names:
                # a disease that is named like a finding (头痛) is read as the finding
                if matchable(name) and not self._entry(name).concepts:
                    self._name(name, "diagnosis")
            for treatment in disease.treatments:
                if matchable(treatment) and not self._entry(treatment).concepts:
                    self._name(treatment, "drug")

        self._spread_cues()

    def _spread_cues(self) -> None:
        """What marks time, change … in one wording of a concept marks it in all: 突发 = 突然出现."""
        kinds: dict[str, list[str]] = {}
        for entry in self.entries.values():
            if len(entry.concepts) == 1:
                kinds.setdefault(entry.concepts[0], []).extend(
                    kind for kind in entry.cues if kind not in ("negation", "pseudo_negation")
                )
        for entry in self.entries.values():
            if len(entry.concepts) == 1:
                entry.cues.extend(kind for kind in kinds[entry.concepts[0]] if kind not in entry.cues)

    def _name(self, wording: str, kind: str) -> None:
        names = self._entry(wording).names
        if kind not in names:
            names.append(kind)

    def entry(self, wording: str) -> Entry | None:
        """What `wording` may mean, in either letter case."""
        return self.entries.get(wording.lower())

    def _entry(self, wording: str) -> Entry:
        return self.entries.setdefault(wording.lower(), Entry(wording))

    def _build_automaton(self) -> Any:
        import ahocorasick

        automaton = ahocorasick.Automaton()
        for key, entry in self.entries.items():
            entry.complete()
            entry.clinical = any(
                self.terms[concept].is_finding or self.terms[concept].kind in CLINICAL_KINDS
                for concept in entry.concepts
            )
            if entry.concepts or entry.special:
                automaton.add_word(key, (len(key), entry))
        automaton.make_automaton()
        return automaton

    def all_matches(self, text: str) -> list[Match]:
        """Every wording in `text`, also nested and overlapping ones, in order of their end.

        Letters match in either case; a wording that begins or ends with a letter is not found inside a longer Latin
        word; one that is a single letter (`T`, `P`) only before a number.
        """
        lowered = text.lower()
        if len(lowered) != len(text):  # İ becomes two characters; such a text is matched as it is written
            lowered = text
        found = []
        for last, (length, entry) in self._automaton.iter(lowered):
            start = last + 1 - length
            if (entry.latin_start or entry.latin_end) and not _stands_alone(lowered, start, last + 1, entry):
                continue
            found.append(Match(start, last + 1, entry))
        return found

    def matches(self, text: str) -> list[Match]:
        """The leftmost, longest wordings in `text`, without overlap, in reading order."""
        return leftmost_longest(self.all_matches(text))

    def concept(self, wording: str) -> str | None:
        """The main term of the one concept with this wording; `None` if there is none or more than one."""
        entry = self.entry(wording)
        return entry.concepts[0] if entry and len(entry.concepts) == 1 else None

    def disease_names(self) -> frozenset[str]:
        """All names, aliases and abbreviations of diseases."""
        return frozenset(name for disease in self.diseases for name in disease.names)

    def medical_words(self) -> frozenset[str]:
        """Every wording of at least two characters, Latin ones in lower case: none is a person's name."""
        return frozenset(key for key in self.entries if len(key) > 1)


def leftmost_longest(matches: Iterable[Match]) -> list[Match]:
    """Those of `matches` that a reader would take: from the left, the longest at each place, none overlapping.

    One exception: 无痛经 is 无 + 痛经, not 无痛 + 经. A negation followed by a term that reaches further than the longest
    wording at its place is read as the negation.
    """
    ordered = sorted(matches, key=_reading_order)
    chosen = []
    position = 0
    for index, match in enumerate(ordered):
        if match[0] >= position:
            entry = match[2]
            if entry.opens_with_negation and (shorter := _denied_term_reaches_further(ordered, index)):
                match = shorter
            chosen.append(match)
            position = match[1]
    return chosen


def _denied_term_reaches_further(ordered: list[Match], index: int) -> Match | None:
    start, end, _ = ordered[index]
    for cue in ordered[index + 1 :]:
        if cue.start != start:
            return None
        if cue.entry.denies and any(
            other.start == cue.end and other.end > end and (other.entry.concepts or other.entry.names)
            for other in ordered[index + 1 :]
            if other.start < end
        ):
            return cue
    return None


def _reading_order(match: Match) -> int:
    # one integer sorts faster than a pair: by start, then the longest first
    return (match[0] << 20) - match[1]


def matchable(wording: str) -> bool:
    """A single Chinese character is part of too many other words to be read as a term."""
    return len(wording) > 1 or _latin(wording)


def _latin(char: str) -> bool:
    return "a" <= char <= "z" or "A" <= char <= "Z"


def _stands_alone(text: str, start: int, end: int, entry: Entry) -> bool:
    """Whether a wording with letters at its edges is a word of its own in lower-case `text`."""
    if entry.latin_start and start and _latin(text[start - 1]):
        return False
    if entry.latin_end and end < len(text) and _latin(text[end]):
        return False
    return end - start > 1 or _number_follows(text, end)


def _number_follows(text: str, position: int) -> bool:
    rest = text[position : position + 3].lstrip(" :：")
    return bool(rest) and "0" <= rest[0] <= "9"


# --- reading the files ------------------------------------------------------------------------------------------------


def _root() -> Traversable:
    return files("emr_fl_shared") / "resources" / "lexicon"


def _listed(path: Traversable, suffix: str) -> list[Traversable]:
    if not path.is_dir():
        return []
    return sorted(
        (entry for entry in path.iterdir() if entry.name.endswith(suffix)), key=lambda entry: entry.name
    )


def _rows(path: Traversable, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    lines = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(reader, [])
    missing = [column for column in columns if column not in header]
    if missing:
        raise DataError(
            tr("a lexicon file lacks columns", "词典文件缺少列"),
            where=path.name,
            got=", ".join(header),
            expected=", ".join(missing),
        )
    for number, cells in enumerate(reader, start=2):
        if len(cells) > len(header):
            raise DataError(
                tr("a lexicon row has too many columns", "词典行的列数过多"),
                where=f"{path.name}, entry {number}",
            )
        yield dict(
            zip(header, [cell.strip() for cell in cells] + [""] * (len(header) - len(cells)), strict=True)
        )


def _listing(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in cell.split("|") if item.strip()))


def _read_terms() -> Iterator[Term]:
    columns = ("term", "synonyms", "colloquial", "abbreviations", "noise_forms")
    for path in (*_listed(_root() / "findings", ".tsv"), _root() / "general.tsv"):
        is_finding = path.name != "general.tsv"
        for row in _rows(path, columns):
            yield Term(
                term=row["term"],
                kind=row["kind"] if is_finding else row["category"],
                synonyms=_listing(row["synonyms"]),
                colloquial=_listing(row["colloquial"]),
                abbreviations=_listing(row["abbreviations"]),
                noise_forms=_listing(row["noise_forms"]),
                en=row.get("en", ""),
                is_finding=is_finding,
            )


def _read_diseases() -> Iterator[DiseaseNames]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in _listed(_root() / "diseases", ".yaml"):
        for number, row in enumerate(
            yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or [], start=1
        ):
            try:
                yield DiseaseNames(
                    label=int(row["label"]),
                    zh=str(row["zh"]),
                    aliases=tuple(map(str, row.get("aliases") or ())),
                    abbreviations=tuple(map(str, row.get("abbreviations") or ())),
                    treatments=tuple(map(str, row.get("treatments") or ())),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    tr("a disease can't be read", "病种条目无法读取"), where=f"{path.name}, entry {number}"
                ) from error


def _read_wordings(name: str) -> dict[str, tuple[str, ...]]:
    return {
        row["category"]: _listing(row["wordings"]) for row in _rows(_root() / name, ("category", "wordings"))
    }


@cache
def load_lexicon() -> Lexicon:
    """The lexicon of the package, read once a process (about 0.2 s)."""
    return Lexicon(
        _read_terms(), _read_diseases(), _read_wordings("cues.tsv"), _read_wordings("protected.tsv")
    )
