"""Findings as lines on a terminal: the level, what was looked at, what was seen, and what to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Protocol

from emr_fl_shared.messages import tr

INDENT = 9
WIDTH = 80


class Shown(Protocol):
    """A line of `emr-fl client check` or `emr-fl data check`; words are `str` or turn into it."""

    @property
    def level(self) -> str: ...
    @property
    def subject(self) -> object: ...
    @property
    def seen(self) -> object: ...
    @property
    def do(self) -> object: ...


def finding_lines(finding: Shown, width: int | None = None) -> Iterator[str]:
    """The finding as one to a few lines, none wider than `width` columns of a terminal where it can be broken."""
    words = {"ok": "ok", "warning": tr("warning", "警告"), "stop": tr("stop", "停止")}
    head = pad(words[finding.level], INDENT)
    yield from _wrapped(head, f"{finding.subject}{tr(': ', '：')}{finding.seen}", width)
    if str(finding.do):
        yield from _wrapped(" " * INDENT, f"→ {finding.do}", width)


def columns_of(text: str) -> int:
    """How many columns of a terminal the text takes: a Chinese character two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, width: int) -> str:
    """The text with blanks up to `width` columns."""
    return text + " " * max(0, width - columns_of(text))


def _wrapped(head: str, text: str, width: int | None) -> Iterator[str]:
    """`head` and the text, broken at blanks or between Chinese characters, later lines indented as far as the head."""
    line = head
    room = False  # whether the line holds a word already, so that it may be broken before the next
    for word in _words(text):
        if width is not None and room and columns_of(line + word.rstrip()) > width:
            yield line.rstrip()
            line, room = " " * columns_of(head), False
            word = word.lstrip()
        line += word
        room = room or bool(word.strip())
    yield line.rstrip()


def _words(text: str) -> Iterator[str]:
    """Pieces that stay on one line: Latin words with the blank behind them; Chinese characters, closing marks kept with the one
    before."""
    piece = ""
    for char in text:
        wide = unicodedata.east_asian_width(char) in "WF"
        closing = char in "，。；：、）】”’？！,.;:)"
        if (
            piece
            and not closing
            and (piece[-1] == " " or wide or unicodedata.east_asian_width(piece[-1]) in "WF")
        ):
            yield piece
            piece = ""
        piece += char
    if piece:
        yield piece
