"""Generated clinic notes with every planted identifier's type and span, and clean clinical text without any.

The templates and values were written from knowledge of Chinese clinic notes alone, before and apart from the rules
that are measured with them. `halves` splits templates and open word lists by a fixed rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from recall.halves import Half, of_half
from recall.pools import SURNAMES
from recall.values import Values

_HERE = Path(__file__).parent
_SLOT = re.compile(r"\{([a-z_]+)(\d?)\}")
_TITLES = ["主任", "教授", "医生", "大夫", "护士", "护士长", "主治", "老师", "院长"]


@dataclass(frozen=True)
class PlantedIdentifier:
    """One identifier: `text[start:end]` of the note. `kind` is the slot's name, persons being patient, relative, staff."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class GeneratedNote:
    """A note, what was planted in it, and what the columns of the same row would say of its patient."""

    text: str
    planted: tuple[PlantedIdentifier, ...]
    row: dict[str, str] = field(default_factory=dict)


def _blocks(path: Path) -> list[str]:
    return [block.strip("\n") for block in path.read_text(encoding="utf-8").split("\n%%\n")]


def templates(half: Half | None = None) -> list[str]:
    """All templates of notes, or those of one half."""
    found = [block for path in sorted((_HERE / "templates").glob("*.txt")) for block in _blocks(path)]
    return found if half is None else of_half(found, half)


def fragments(half: Half | None = None) -> list[str]:
    """Lines that may follow any note: the rarer types of identifiers with their labels."""
    found = _blocks(_HERE / "fragments.txt")
    return found if half is None else of_half(found, half)


def clean_templates(half: Half | None = None) -> list[str]:
    """Clinical text without any identifier."""
    found = _blocks(_HERE / "clean.txt")
    return found if half is None else of_half(found, half)


def protected_terms() -> list[str]:
    """Terms that must never be taken for an identifier."""
    return sorted(
        {term for term in (_HERE / "protected.txt").read_text(encoding="utf-8").split() if len(term) > 1}
    )


def _clinical_words() -> dict[str, list[str]]:
    lines = (_HERE / "clinical_words.txt").read_text(encoding="utf-8").splitlines()
    return {kind: words.split("|") for kind, words in (line.split("\t") for line in lines)}


CLINICAL_WORDS = _clinical_words()


def notes(half: Half, count: int, seed: int) -> tuple[list[GeneratedNote], list[str]]:
    """`count` notes of a hospital and its staff roster. Each template of the half occurs equally often, with a fragment."""
    random = Random(f"{half} {seed}")
    values = Values(random, half)
    roster = sorted({values.name() for _ in range(60)})
    pool, lines = templates(half), fragments(half)
    joints = ["\n", "\n", " ", "　", "；"]
    written = []
    for i in range(count):
        template = pool[i % len(pool)] + random.choice(joints) + lines[i % len(lines)]
        written.append(_note(template, random, values, roster))
    return written, roster


def clean_notes(half: Half, count: int, seed: int) -> list[str]:
    """`count` texts without any identifier, two or three clean templates each."""
    random = Random(f"clean {half} {seed}")
    pool = clean_templates(half)
    texts = []
    for _ in range(count):
        chosen = random.sample(pool, random.choice([2, 3]))
        texts.append(
            "\n".join(_SLOT.sub(lambda m: random.choice(CLINICAL_WORDS[m[1]]), block) for block in chosen)
        )
    return texts


def protected_sentences() -> Iterator[tuple[str, int, int]]:
    """(text, start, end) of each protected term alone and inside neutral sentences."""
    for term in protected_terms():
        for before, after in (("", ""), ("患者有", "，继续观察。"), ("考虑", "可能"), ("1.", "；2.复查")):
            yield before + term + after, len(before), len(before) + len(term)


def _note(template: str, random: Random, values: Values, roster: list[str]) -> GeneratedNote:
    drawn: dict[tuple[str, str], str] = {}
    parts: list[str] = []
    planted: list[PlantedIdentifier] = []
    length = at = 0

    def add(text: str) -> None:
        nonlocal length
        parts.append(text)
        length += len(text)

    for slot in _SLOT.finditer(template):
        add(template[at : slot.start()])
        at = slot.end()
        kind, number = slot[1], slot[2]
        if kind in CLINICAL_WORDS:
            add(random.choice(CLINICAL_WORDS[kind]))
            continue
        key = (kind, number)
        if key not in drawn:
            drawn[key] = _value(kind, random, values, roster, set(drawn.values()))
        text = drawn[key]
        if kind in ("patient", "relative", "staff"):
            text = values.written(text)
        planted.append(PlantedIdentifier(kind, length, length + len(text)))
        add(text)
        if kind == "titled":
            add(random.choice(_TITLES))
    add(template[at:])
    row = {kind: value for (kind, number), value in drawn.items() if kind in _ROW_COLUMNS and not number}
    return GeneratedNote("".join(parts), tuple(planted), row)


# What the columns beside the text say: the patient's own particulars.
_ROW_COLUMNS = ("patient", "id_card", "mrn", "visit")


def _value(kind: str, random: Random, values: Values, roster: list[str], taken: set[str]) -> str:
    if kind == "titled":
        return random.choice(SURNAMES)
    if kind in ("patient", "relative", "staff"):
        while True:
            name = random.choice(roster) if kind == "staff" else values.name()
            if name not in taken:
                return name
    return values.makers[kind]()
