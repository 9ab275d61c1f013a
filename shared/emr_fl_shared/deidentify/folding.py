"""One form of the text for all recognisers, character for character, so that every offset stays true."""

from __future__ import annotations

import re

_TABLE: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "\u3000\u00a0\u2002\u2003\u2009\u202f\u200b\ufeff\t"), " "),
    **dict.fromkeys(map(ord, "‐‑‒–—―−－﹣"), "-"),
    **dict.fromkeys(map(ord, "•・‧∙⋅･"), "·"),
    **{code: str(index) for index, code in enumerate(range(0x1D7D8, 0x1D7E2))},
    ord("【"): "[",
    ord("】"): "]",
    ord("〔"): "(",
    ord("〕"): ")",
    ord("﹕"): ":",
    ord("∶"): ":",
}
# Most notes hold no other full-width forms than these marks; replacing each is several times faster than the table.
_MARKS = tuple((char, _TABLE[ord(char)]) for char in "，：；！？（）")
_OTHERS = re.compile(
    "[" + "".join(re.escape(chr(code)) for code in _TABLE if chr(code) not in "，：；！？（）") + "]"
)
_DIGIT_LIKE = str.maketrans("OoQIl|〇○", "00011100")
_CHINESE_DIGITS = str.maketrans("〇零○一二三四五六七八九幺两", "00012345678912")
_LETTERED_RUN = re.compile(r"(?<![A-Za-z0-9])[0-9OoIl](?:[ -]?[0-9OoIl|]){5,}[ -]?[0-9OoIl](?![A-Za-z])")
_CHINESE_RUN = re.compile(r"[〇零○一二三四五六七八九幺]{7,}")
_HAS_DIGIT_LIKE = re.compile(r"[0-9][OoIl|]|[OoIl|][0-9]")


def fold(text: str) -> str:
    """The text with full-width forms, dashes and blanks in one form, and digit runs repaired (`l38OO138000`).

    The result is exactly as long as the text.

    >>> fold("电话：１３８—００１３—８０００")
    '电话:138-0013-8000'
    """
    if text.isascii():
        folded = text.replace("\t", " ")
    elif _OTHERS.search(text):
        folded = text.translate(_TABLE)
    else:
        folded = text
        for char, plain in _MARKS:
            folded = folded.replace(char, plain)
    if _HAS_DIGIT_LIKE.search(folded):
        folded = _LETTERED_RUN.sub(_repair, folded)
    if "零" in folded or "〇" in folded or "幺" in folded or "八" in folded:
        folded = _CHINESE_RUN.sub(lambda match: match.group().translate(_CHINESE_DIGITS), folded)
    return folded


def _repair(match: re.Match[str]) -> str:
    run = match.group()
    digits = sum(char.isdigit() for char in run)
    letters = sum(char.isalpha() or char == "|" for char in run)
    return run.translate(_DIGIT_LIKE) if digits >= 2 * letters else run
