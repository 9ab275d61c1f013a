"""The word lists under `resources/deidentify`: plain text that a clinician or data-protection officer can review."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import ahocorasick

_FOLDER = "deidentify"


def _resource(name: str) -> Traversable:
    return files("emr_fl_shared") / "resources" / _FOLDER / name


@cache
def sections(name: str) -> dict[str, tuple[str, ...]]:
    """Words of a `.txt` list by section; words before the first `[section]` are under the empty name."""
    found: dict[str, list[str]] = {"": []}
    current = ""
    for line in _resource(name).read_text("utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith("[") and line.rstrip().endswith("]"):
            current = line.strip()[1:-1]
            found.setdefault(current, [])
            continue
        found[current].extend(line.split())
    return {section: tuple(dict.fromkeys(words)) for section, words in found.items()}


def words(name: str) -> tuple[str, ...]:
    """All words of a `.txt` list, longest first."""
    every = dict.fromkeys(word for listed in sections(name).values() for word in listed)
    return tuple(sorted(every, key=lambda word: (-len(word), word)))


@cache
def characters(name: str, section: str = "") -> frozenset[str]:
    """The single characters of a `.txt` list or of one of its sections."""
    return frozenset("".join(sections(name).get(section, ())))


@cache
def rows(name: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a `.tsv` list, without comments and header."""
    lines = [
        line for line in _resource(name).read_text("utf-8").splitlines() if line and not line.startswith("#")
    ]
    return tuple(tuple(line.split("\t")) for line in lines[1:])


@cache
def findings() -> frozenset[str]:
    """Clinical terms of the lexicon, two characters and more: no name is cut out of them."""
    folder = files("emr_fl_shared") / "resources" / "lexicon" / "findings"
    terms: set[str] = set()
    if folder.is_dir():
        for resource in sorted(folder.iterdir(), key=lambda item: item.name):
            if not resource.name.endswith(".tsv"):
                continue
            lines = resource.read_text("utf-8").splitlines()
            header = lines[0].split("\t") if lines else []
            wanted = [
                index for index, column in enumerate(header) if column in ("term", "synonyms", "colloquial")
            ]
            for line in lines[1:]:
                cells = line.split("\t")
                for index in wanted:
                    if index < len(cells):
                        terms.update(part.strip() for part in cells[index].split("|"))
    return frozenset(term for term in terms if len(term) >= 2)


def automaton(entries: dict[str, object]) -> ahocorasick.Automaton:
    """An Aho–Corasick automaton: one pass over the text finds every entry."""
    machine = ahocorasick.Automaton()
    for word, value in entries.items():
        machine.add_word(word, value)
    machine.make_automaton()
    return machine
