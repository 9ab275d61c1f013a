"""Where the words of a Chinese text are: jieba's dictionary and model (Sun, 2012), as jieba-rs has them compiled in.

Nothing is downloaded, and no dictionary is written to a folder for temporary files.
"""

from __future__ import annotations

from typing import NamedTuple

from emr_fl_shared.text.placeholders import PLACEHOLDER


class Word(NamedTuple):
    """text[start:end]."""

    start: int
    end: int


def words(text: str) -> list[Word]:
    """The words of `text` in reading order, without blanks, punctuation and what placeholders are made of."""
    import rjieba

    masked = PLACEHOLDER.sub(lambda match: " " * len(match.group()), text)
    return [Word(start, end) for word, start, end in rjieba.tokenize(masked) if any(map(str.isalnum, word))]
