"""Typing errors: a character of the same sound, doubled, lost, or any other."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from math import log


@cache
def same_sound() -> Mapping[str, str]:
    """Character → other characters of GB2312 level 1 with the same syllable, whatever the tone."""
    from pypinyin import Style, pinyin

    characters = [
        bytes((high, low)).decode("gb2312")
        for high in range(0xB0, 0xD8)
        for low in range(0xA1, 0xFF)
        if not (high == 0xD7 and low > 0xF9)
    ]
    groups: dict[str, list[str]] = defaultdict(list)
    for character in characters:
        groups[pinyin(character, style=Style.NORMAL)[0][0]].append(character)
    return {
        character: "".join(other for other in group if other != character)
        for group in groups.values()
        for character in group
    }


def mistype(text: str, rate: float, rng: random.Random) -> str:
    """The text with each character hit with probability `rate`. Numbers and Latin letters are never changed."""
    if not text or rate <= 0.0:
        return text
    step = log(1.0 - min(rate, 0.99))
    out: list[str] = []
    start = 0
    # gaps between errors are geometric: one draw per error instead of one per character
    place = int(log(1.0 - rng.random()) / step)
    while place < len(text):
        out.append(text[start:place])
        out.append(_wrong(text, place, rng))
        start = place + 1
        place = start + int(log(1.0 - rng.random()) / step)
    out.append(text[start:])
    return "".join(out)


def _wrong(text: str, place: int, rng: random.Random) -> str:
    character = text[place]
    if not "一" <= character <= "鿿":
        return character
    kind = rng.random()
    if kind < 0.6:
        others = same_sound().get(character, "")
        return rng.choice(others) if others else character
    if kind < 0.75:
        return ""
    if kind < 0.87:
        return character * 2
    return rng.choice(tuple(same_sound()))
