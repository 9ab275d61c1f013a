"""Notes of the third set with the place of each planted identifier, and clinical text without any.

Written apart from the first two sets and from the recognisers, in another wording and by another construction (a grammar of
alternatives and identifiers put together from parts). It measures only: whoever works on the recognisers looks at its sums
and never at its misses.
"""

from __future__ import annotations

from random import Random

from recall.notes import GeneratedNote, PlantedIdentifier
from recall_third.grammar import HERE, SLOT, blocks, expand, words
from recall_third.numbers import Numbers
from recall_third.people import People
from recall_third.places import Places
from recall_third.styles import Pieces, styled

# What the columns beside the text say: the patient's own particulars.
_ROW = ("patient", "id_card", "mrn", "visit")
_JOINTS = ("\n", "\n", "\n\n", "。", "　")
_NAMES = ("patient", "relative", "staff")


def templates() -> list[str]:
    """The templates of notes, clinic by clinic."""
    return [block for path in sorted((HERE / "templates").glob("*.txt")) for block in blocks(path)]


def notes(count: int, seed: int) -> tuple[list[GeneratedNote], list[str]]:
    """`count` notes of a hospital and its staff roster; each template occurs equally often, with a rider or the
    clinic's head line more often than not.

    Kinds are the slots that `recall.measure.KIND_OF_SLOT` knows; a note's row is keyed by them too.
    """
    random = Random(f"third {seed}")
    makers = _Makers(random)
    pool, riders, heads, phrases = (
        templates(),
        blocks(HERE / "riders.txt"),
        blocks(HERE / "heads.txt"),
        words(),
    )
    random.shuffle(riders)
    random.shuffle(heads)
    written = []
    for number in range(count):
        if number % len(pool) == 0:
            random.shuffle(pool)
        text = pool[number % len(pool)]
        if random.random() < 0.55:
            text = heads[number % len(heads)] + random.choice(_JOINTS) + text
        if random.random() < 0.65:
            text = text.rstrip("。") + random.choice(_JOINTS) + riders[number % len(riders)]
        written.append(_note(expand(text, phrases, random), makers, random))
    return written, makers.roster


def clean_notes(count: int, seed: int) -> list[str]:
    """`count` clinical texts without any identifier, each of two to four blocks of `clean.txt`."""
    random = Random(f"third clean {seed}")
    pool, phrases = blocks(HERE / "clean.txt"), words()
    return [
        "\n".join(expand(block, phrases, random) for block in random.sample(pool, random.randint(2, 4)))
        for _ in range(count)
    ]


class _Makers:
    """A value for each kind of identifier, and the staff of one hospital."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.people, self._numbers, self._places = People(random), Numbers(random), Places(random)
        self.roster = sorted({self.people.staff() for _ in range(70)})

    def make(self, kind: str) -> str:
        if kind == "staff":
            return self._random.choice(self.roster)
        if kind in _NAMES:
            return self.people.name()
        if kind in ("titled", "surname"):
            return self.people.surname()
        if kind == "pet":
            return self.people.pet()
        source = self._places if hasattr(self._places, kind) else self._numbers
        value: str = getattr(source, kind)()
        return value


# Slots beside the kinds that are counted: a patient's surname alone, and a child's name at home.
_COUNTED_AS = {"surname": "patient", "pet": "patient"}


def _note(template: str, makers: _Makers, random: Random) -> GeneratedNote:
    drawn: dict[tuple[str, str], str] = {}
    pieces: Pieces = []
    at = 0
    for slot in SLOT.finditer(template):
        pieces.append((template[at : slot.start()], None))
        at = slot.end()
        kind, number = slot[1], slot[2]
        # the same number names the same person twice; other kinds are drawn anew, but for the row's own
        key = (kind, number) if kind in (*_NAMES, *_ROW) else (kind, f"{number}@{at}")
        if key not in drawn:
            drawn[key] = makers.make(kind)
        value = makers.people.written(drawn[key]) if kind in _NAMES else drawn[key]
        pieces.append((value, _COUNTED_AS.get(kind, kind)))
    pieces.append((template[at:], None))
    text, planted = "", []
    for piece, counted in styled(pieces, random):
        if counted:
            planted.append(PlantedIdentifier(counted, len(text), len(text) + len(piece)))
        text += piece
    row = {kind: value for (kind, number), value in drawn.items() if kind in _ROW and not number}
    return GeneratedNote(text, tuple(planted), row)
