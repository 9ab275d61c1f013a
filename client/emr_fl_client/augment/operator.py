"""What an augmentation operator is: a plan of edits on a text that the guard has read."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, TypeVar

from emr_fl_shared.text.edits import Edit, apply_edits
from emr_fl_shared.text.guard import Analysis, Guard

T = TypeVar("T")


@cache
def shared_guard() -> Guard:
    """One guard for all operators of a process, so that each training text is read once in a whole training."""
    return Guard()


class Operator(ABC):
    """Changes wording, never meaning.

    `plan` proposes edits; whoever applies them compares the result with the guard. `shorten` may first leave out a whole
    part of the note, which is then no longer part of what the result is compared with.
    """

    name: ClassVar[str]
    may_change: ClassVar[frozenset[str]] = frozenset()
    """Kinds of facts that this operator is made to change."""

    @abstractmethod
    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        """Edits for one text; the same generator state gives the same edits."""

    def shorten(self, text: str, rng: random.Random) -> str:
        """`text`, or `text` without one of its parts."""
        return text

    def apply(self, text: str, rng: random.Random) -> str:
        """The changed text, or the text that `shorten` left if the change would break a fact."""
        guard = shared_guard()
        reference = self.shorten(text, rng)
        result = apply_edits(reference, self.plan(guard.analyse(reference), rng))
        broken = set(guard.violations(reference, result)) - self.may_change
        return reference if broken else result


def chosen(items: Sequence[T], probability: float, rng: random.Random) -> list[T]:
    """Each item with `probability`, but at least one: an operator that was drawn does something if it can."""
    if not items:
        return []
    drawn = [item for item in items if rng.random() < probability]
    return drawn or [rng.choice(items)]
