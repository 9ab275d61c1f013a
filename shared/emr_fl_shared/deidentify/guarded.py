"""Patterns that are tried only where they may begin.

The engine skips quickly to a character of a class, but only if the class stands first in a pattern; behind a lookbehind or an
alternation of several kinds every character of a note is tried.

>>> found = Guarded(r"(?<!\\d)(?:\\+86|0086)?1\\d{10}", r"[+01](?<!\\d.)").finditer("电话+8613800138000")
>>> [match.group() for match in found]
['+8613800138000']
"""

from __future__ import annotations

import re
from collections.abc import Iterator


class Guarded:
    """`pattern`, whose every match begins where `beginning` matches: `finditer` gives what `pattern`'s own gives.

    `pattern` never matches nothing. `beginning` begins with a class of characters; what else it asks for, `pattern` must ask for too.
    """

    __slots__ = ("_beginnings", "match", "pattern")

    def __init__(self, pattern: str, beginning: str) -> None:
        self.pattern = re.compile(pattern)
        self.match = self.pattern.match
        self._beginnings = re.compile(beginning).finditer

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """The matches in `text` from left to right, none overlapping."""
        reach = 0
        for beginning in self._beginnings(text):
            start = beginning.start()
            if start >= reach and (match := self.match(text, start)):
                reach = match.end()
                yield match
