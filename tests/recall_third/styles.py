"""How a whole note is written down: typed, dictated, scanned, with half-width signs, in wide digits, without line breaks.

A note is a list of pieces, each with the kind of the identifier that it is, or none. A style changes the text between the
identifiers, and the digits inside them where a scan or an input method would.
"""

from __future__ import annotations

from random import Random

from recall_third.numbers import full_width

Pieces = list[tuple[str, str | None]]
_HALF_WIDTH = str.maketrans("，：；（）？！", ",:;()?!")
_MARKS = "，。；：、！？,;:“”"
_OCR = str.maketrans("：，；", ":,;")
# What scanners take for one another inside numbers.
_READ_WRONG = {"0": "O", "1": "l", "5": "S", "8": "B"}
_NUMBERS = {"mobile", "landline", "id_card", "mrn", "visit", "imaging", "insurance", "bank"}


def styled(pieces: Pieces, random: Random) -> Pieces:
    """The pieces in a style drawn at random; more than half stay as they are."""
    draw = random.random()
    if draw < 0.55:
        return pieces
    if draw < 0.69:
        return [(text if kind else text.translate(_HALF_WIDTH), kind) for text, kind in pieces]
    if draw < 0.8:
        joint = random.choice(("", " ", "　", "；", "\r\n", "\t"))
        return [(text if kind else text.replace("\n", joint), kind) for text, kind in pieces]
    if draw < 0.88:
        return _dictated(pieces)
    if draw < 0.94:
        return _scanned(pieces, random)
    if draw < 0.97:
        return [(full_width(text), kind) for text, kind in pieces]
    return [
        (text if kind else text.replace("，", "， ").replace("：", "： ").replace("。", "。 "), kind)
        for text, kind in pieces
    ]


def _dictated(pieces: Pieces) -> Pieces:
    """Without punctuation; a blank stays where two identifiers or numbers would otherwise run together."""
    written: Pieces = []
    for place, (text, kind) in enumerate(pieces):
        if kind is None:
            bare = "".join(
                " "
                if c in "\n " or (c in _MARKS and _between_numbers(text, at))
                else ""
                if c in _MARKS
                else c
                for at, c in enumerate(text)
            )
            text = bare or (" " if 0 < place < len(pieces) - 1 and text else "")
        written.append((text, kind))
    return written


def _between_numbers(text: str, at: int) -> bool:
    return 0 < at < len(text) - 1 and text[at - 1].isdigit() and text[at + 1].isdigit()


def _scanned(pieces: Pieces, random: Random) -> Pieces:
    """Blanks inside words, narrow signs, and now and then a digit read as the letter that looks like it."""
    written: Pieces = []
    for text, kind in pieces:
        if kind is None:
            text = "".join(
                c + " " if random.random() < 0.03 and "\u4e00" <= c <= "\u9fff" else c
                for c in text.translate(_OCR)
            )
        elif kind in _NUMBERS and random.random() < 0.4:
            places = [at for at, c in enumerate(text) if at > 2 and c in _READ_WRONG]
            if places:
                at = random.choice(places)
                text = text[:at] + _READ_WRONG[text[at]] + text[at + 1 :]
        written.append((text, kind))
    return written
