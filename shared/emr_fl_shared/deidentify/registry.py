"""The recognisers by name. A site may add its own.

@register
class Badge:
    name = "badge"
    kinds = ("RECORD_NUM",)

    def find(self, text, known): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from emr_fl_shared.deidentify.spans import Span
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
