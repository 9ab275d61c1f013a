"""Changes of a text as replacements of spans, so that several can be planned on one reading of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """Put `replacement` in the place of text[start:end]; start = end inserts."""

    start: int
    end: int
    replacement: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits; of two that overlap the one listed first wins."""
    accepted: list[Edit] = []
    for edit in edits:
        if all(_apart(edit, other) for other in accepted):
            accepted.append(edit)
    accepted.sort()
    parts = []
    position = 0
    for start, end, replacement in accepted:
        parts.append(text[position:start])
        parts.append(replacement)
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _apart(one: Edit, other: Edit) -> bool:
    """Whether two edits share no character; two insertions at one place would have no order, so they are not apart."""
    return one[:2] != other[:2] and (one.end <= other.start or other.end <= one.start)


def fits(text: str, start: int, end: int, replacement: str) -> bool:
    """Whether a wording can stand at text[start:end] without growing together with Latin letters or digits beside it.

    `BP` may precede a number but not follow one; a single letter (`T`) needs a number after it.
    """
    if not replacement:
        return True
    before = text[start - 1] if start else ""
    after = text[end] if end < len(text) else ""
    if before and _alphanumeric(before) and _alphanumeric(replacement[0]):
        return False
    if after and _letter(after) and _letter(replacement[-1]):
        return False
    if len(replacement) == 1 and _letter(replacement):
        rest = text[end : end + 3].lstrip(" :：")
        return bool(rest) and "0" <= rest[0] <= "9"
    # a wording that ends in a digit would join the number after it
    return not (after and after.isdigit() and replacement[-1].isdigit())


def _letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _alphanumeric(char: str) -> bool:
    return char.isascii() and char.isalnum()
