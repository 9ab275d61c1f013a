"""Where words of a list stand in a text, found by their first two characters.

An Aho–Corasick automaton (`wordlists.automaton`) compares each character of the text with hundreds of beginnings, one after the other;
a character class and a dictionary are several times faster on notes, and a place can be asked alone.

>>> finder = WordFinder({"主任": "title", "主任医师": "title", "某": "form"})
>>> finder.all("王主任医师")
[(1, '主任医师'), (1, '主任')]
>>> finder.length_at("王主任医师", 1), finder.length_at("张某", 0)
(4, 0)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

V = TypeVar("V")


class WordFinder(Generic[V]):
    """The words of `entries` (none empty) and what each stands for."""

    def __init__(self, entries: Mapping[str, V]) -> None:
        self._entries = dict(entries)
        self.longest_word: int = max(map(len, entries), default=0)
        single = {word for word in entries if len(word) == 1}
        by_beginning: dict[str, set[int]] = {}
        for word in entries:
            lengths = by_beginning.setdefault(word[:2], set())
            lengths.update({len(word), 1} if word[0] in single else {len(word)})
        self._lengths = {
            beginning: tuple(sorted(lengths, reverse=True)) for beginning, lengths in by_beginning.items()
        }
        # A word of one character reaches beyond no place, so that two characters are enough here.
        self._longest_with = {beginning: lengths[0] for beginning, lengths in self._lengths.items()}
        first, second = {word[0] for word in entries}, {word[1] for word in entries if len(word) > 1}
        self._begins = re.compile(f"{_class(first)}(?:(?={_class(second)})|(?<={_class(single)}))")

    def __getitem__(self, word: str) -> V:
        return self._entries[word]

    def length_at(self, text: str, start: int) -> int:
        """Length of the longest word that begins at `start`; 0 if none does."""
        beginning = text[start : start + 2]
        for length in self._lengths.get(beginning) or self._lengths.get(beginning[:1], ()):
            word = text[start : start + length]
            if word in self._entries and len(word) == length:
                return length
        return 0

    def covers(self, text: str, place: int, first: int, end: int) -> bool:
        """Whether a word that begins at `first` … `end` (exclusive, all before `place`) reaches beyond `place`."""
        longest = self._longest_with.get
        for start in range(max(0, first), end):
            most = longest(text[start : start + 2], 0)
            if most > place - start and self.length_at(text, start) > place - start:
                return True
        return False

    def all(self, text: str) -> list[tuple[int, str]]:
        """Start and word of every occurrence, from left to right, the longest of a place first."""
        return self._found(text, every=True)

    def longest(self, text: str) -> list[tuple[int, str]]:
        """Start and word, the longest where several begin at one place, from left to right."""
        return self._found(text, every=False)

    def _found(self, text: str, *, every: bool) -> list[tuple[int, str]]:
        entries, lengths_with = self._entries, self._lengths.get
        found: list[tuple[int, str]] = []
        for match in self._begins.finditer(text):
            start = match.start()
            for length in lengths_with(text[start : start + 2]) or lengths_with(text[start], ()):
                word = text[start : start + length]
                if word in entries and len(word) == length:
                    found.append((start, word))
                    if not every:
                        break
        return found


def _class(characters: set[str]) -> str:
    """A class of a regular expression; without characters it matches nothing."""
    return f"[{''.join(map(re.escape, sorted(characters)))}]" if characters else r"[^\s\S]"
