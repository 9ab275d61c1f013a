"""The recognisers by name. A site may add its own.

@register
class Badge:
    name = "badge"
    kinds = ("RECORD_NUM",)

    def find(self, text, known): ...
"""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import rows
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr


@runtime_checkable
class Recogniser(Protocol):
    """Finds identifiers of some kinds.

    `find` gets the folded text (`folding.fold`: half-width, as long as the original) and the row's own identifier
    columns; it yields spans with offsets into that text. It never raises on any text and keeps nothing.
    """

    name: str
    kinds: tuple[str, ...]

    def find(self, text: str, known: Mapping[str, str]) -> Iterable[Span]: ...


@runtime_checkable
class Batched(Protocol):
    """A recogniser that is faster on many texts at once: `warm` gets folded texts that `find` will be asked for next."""

    def warm(self, texts: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What the cleaner removed of `planted` identifiers of a kind: by the text alone, and with the row's columns and the roster.

    From the sealed half of the generated set (`docs/deidentification.md`); whole cleaner, not one recogniser.
    """

    kind: str
    planted: int
    text_only: int
    row_and_roster: int


@dataclass(frozen=True, slots=True)
class Card:
    """A recogniser described: its kinds, what its patterns rest on (lists under `resources/deidentify`, standards), how it works, runnable
    examples, and the recall of its kinds."""

    name: str
    kinds: tuple[str, ...]
    sources: tuple[str, ...]
    about: str
    examples: tuple[str, ...]
    recall: tuple[Measured, ...]


R = TypeVar("R", bound=type)
_CLASSES: dict[str, type] = {}
_INSTANCES: dict[str, Recogniser] = {}


def register(recogniser: R) -> R:
    """Class decorator: the class joins the default recognisers. Raises `UsageError` if the name is taken."""
    name = str(getattr(recogniser, "name", ""))
    if not name or name in _CLASSES:
        raise UsageError(
            tr("a recogniser needs a name of its own", "识别器需要唯一的名称"),
            got=name or "∅",
            where="deidentify",
        )
    _CLASSES[name] = recogniser
    return recogniser


def names() -> tuple[str, ...]:
    """The names of all recognisers, in the order of registration."""
    return tuple(_CLASSES)


def recognisers(chosen: Sequence[str] | None = None) -> tuple[Recogniser, ...]:
    """Recognisers by name, all by default; word lists are loaded once per process.

    Raises `UsageError` for an unknown name.
    """
    picked: list[Recogniser] = []
    for name in chosen if chosen is not None else names():
        if name not in _CLASSES:
            raise UsageError(
                tr("no such recogniser", "没有这个识别器"),
                where="deidentify",
                got=name,
                expected=", ".join(names()),
            )
        if name not in _INSTANCES:
            _INSTANCES[name] = _CLASSES[name]()
        picked.append(_INSTANCES[name])
    return tuple(picked)


def card(name: str) -> Card:
    """The description of a recogniser. One that a site registered has what its class and module say, and no sources if it names none.

    Raises `UsageError` for an unknown name.
    """
    (recogniser,) = recognisers([name])
    about = inspect.getdoc(inspect.getmodule(type(recogniser))) or ""
    examples = doctest.DocTestParser().get_examples(about)
    measured = (Measured(row[0], *map(int, row[1:])) for row in rows("measured.tsv"))
    return Card(
        name=name,
        kinds=recogniser.kinds,
        sources=tuple(getattr(recogniser, "sources", ())),
        about=about,
        examples=tuple(example.source.strip() for example in examples),
        recall=tuple(found for found in measured if found.kind in recogniser.kinds),
    )
