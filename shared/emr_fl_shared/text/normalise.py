"""One written form for what different keyboards and export tools write differently.

The steps, in this order:

1. *characters*, one for one: full-width letters, digits, brackets and symbols become half-width (`３８．５％（+）` → `38.5%(+)`), compatibility
   ideographs and radicals their ordinary character, look-alike dashes, middle dots, micro signs and spaces one form each;
2. *dropped*: control, format and zero-width characters, soft hyphens, variation selectors, private-use characters;
   a lone surrogate becomes U+FFFD;
3. *expanded or joined*: squared units (`㎜` → `mm`), `°C` → `℃`;
4. *punctuation*: `,;:?!` beside a Chinese character become full-width, as Chinese is written; full-width ones between
   two digits become half-width (`12：30` → `12:30`, `1，2` → `1,2`);
5. *whitespace*: a run becomes one line break if it holds one, else one space; none at either end.

Clinical signs stay as they are: ↑ ↓ ± + − ℃ ° ‰ ≥ ≤ < > × μ Ⅰ–Ⅻ ① and Greek letters.
`fold` does the one-for-one part only (steps 1 and 4), so offsets found in its output are offsets in its input;
`normalise_with_offsets` returns the map for the rest. All of them are idempotent.
"""

from __future__ import annotations

import re
import unicodedata

_ONE_TO_ONE: dict[int, str] = {
    # full-width ASCII, without the punctuation that Chinese uses in that width
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in "，；：？！"},
    **{ord(char): "-" for char in "\u2010\u2011\u2012\u2013\u2212\ufe63"},
    **{ord(char): "·" for char in "•・‧∙⋅･"},
    **{
        ord(char): " "
        for char in "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    },
    **{ord(char): " " for char in "\u202f\u205f\u3000\t\x0b\x0c"},
    **{ord(char): "\n" for char in "\r\x85\u2028\u2029"},
    ord("\u2015"): "—",
    ord("\u2236"): ":",
    ord("\u00b5"): "μ",
    ord("º"): "°",
    ord("˚"): "°",
    ord("\u2126"): "Ω",
    ord("〜"): "~",
    ord("∼"): "~",
    ord("≧"): "≥",
    ord("≦"): "≤",
    ord("⩾"): "≥",
    ord("⩽"): "≤",
    ord("｡"): "。",
    ord("､"): "、",
    ord("﹣"): "-",
    ord("﹢"): "+",
    ord("﹪"): "%",
    ord("﹤"): "<",
    ord("﹥"): ">",
    ord("﹦"): "=",
    ord("﹐"): "，",
    ord("﹑"): "、",
    ord("﹒"): ".",
    ord("﹔"): "；",
    ord("﹕"): "：",
    ord("﹖"): "？",
    ord("﹗"): "！",
    ord("﹙"): "(",
    ord("﹚"): ")",
}
for _code in (*range(0xF900, 0xFB00), *range(0x2E80, 0x2FE0), *range(0x2F800, 0x2FA20)):
    _plain = unicodedata.normalize("NFKC", chr(_code))
    if _plain != chr(_code) and len(_plain) == 1:
        _ONE_TO_ONE[_code] = _plain

_SQUARED_UNITS = {
    chr(code): expanded.replace("⁄", "/").replace("∕", "/").replace("µ", "μ")
    for code in range(0x3371, 0x33E0)
    if (expanded := unicodedata.normalize("NFKC", chr(code))).replace("∕", "").replace("⁄", "").isascii()
    or "μ" in expanded
}

_TO_FULL = dict(zip(",;:?!", "，；：？！", strict=True))
_TO_HALF = {full: half for half, full in _TO_FULL.items()}
_PUNCTUATION = frozenset(_TO_FULL) | frozenset(_TO_HALF)
# Any character but those that all steps up to the third leave as they are (but for °C); few notes hold one once `_ONE_TO_ONE` is applied.
_ODD = re.compile("[^\n -~°±·×Α-Ωα-ωμ—‘’“”…‰℃Ⅰ-ⅿ←-↙≠≤≥①-⑳、。〇《》「」『』【】一-鿿㐀-䶿，；：？！]")
_HANZI = "一-鿿㐀-䶿〇\U00020000-\U0003ffff"
_HALF_BESIDE_HANZI = re.compile(f"[,;:?!](?:(?<=[{_HANZI}].)|(?=[{_HANZI}]))")
_FULL_BETWEEN_DIGITS = re.compile("[，；：？！](?<=[0-9].)(?=[0-9])")
_BLANKS = re.compile(r"[ \n]{2,}")


def is_hanzi(char: str) -> bool:
    """Whether `char` is a Chinese character (unified ideographs with extensions A and B onward, and 〇)."""
    return (
        "\u4e00" <= char <= "\u9fff"
        or "\u3400" <= char <= "\u4dbf"
        or char == "〇"
        or "\U00020000" <= char <= "\U0003ffff"
    )


def _fold_punctuation(chars: list[str]) -> None:
    """Choose the width of punctuation by its direct neighbours, in place."""
    last = len(chars) - 1
    for position, char in enumerate(chars):
        if char not in _PUNCTUATION:
            continue
        before = chars[position - 1] if position else ""
        after = chars[position + 1] if position < last else ""
        if char in _TO_FULL:
            if (before and is_hanzi(before)) or (after and is_hanzi(after)):
                chars[position] = _TO_FULL[char]
        elif _digit(before) and _digit(after):
            chars[position] = _TO_HALF[char]


def _digit(char: str) -> bool:
    return "0" <= char <= "9" if char else False


def fold(text: str) -> str:
    """The one-for-one part of `normalise`: the result has the length of `text`, and offsets agree."""
    chars = list(text.translate(_ONE_TO_ONE))
    _fold_punctuation(chars)
    return "".join(chars)


def _dropped(char: str) -> bool:
    """Control, format, unassigned-for-text and private-use characters and variation selectors carry no meaning here."""
    if char in "\n ":
        return False
    if "\ufe00" <= char <= "\ufe0f":
        return True
    return unicodedata.category(char) in ("Cc", "Cf", "Co")


def normalise_with_offsets(text: str) -> tuple[str, list[int]]:
    """`normalise(text)` and, for each character of it, the offset in `text` that it came from."""
    chars: list[str] = []
    offsets: list[int] = []
    for offset, char in enumerate(text.translate(_ONE_TO_ONE)):
        if char.isascii() and char.isprintable():
            new = char
        elif _dropped(char):
            continue
        elif unicodedata.category(char) == "Cs":
            new = "\ufffd"
        else:
            new = _SQUARED_UNITS.get(char, char)
        if new == "C" and chars and chars[-1] == "°":
            chars[-1] = "℃"
            continue
        chars.extend(new)
        offsets.extend([offset] * len(new))
    _fold_punctuation(chars)

    kept: list[str] = []
    kept_offsets: list[int] = []
    for char, offset in zip(chars, offsets, strict=True):
        if char in " \n":
            if not kept:
                continue
            if kept[-1] in " \n":
                if char == "\n":
                    kept[-1] = "\n"
                continue
        kept.append(char)
        kept_offsets.append(offset)
    while kept and kept[-1] in " \n":
        kept.pop()
        kept_offsets.pop()
    return "".join(kept), kept_offsets


def normalise(text: str) -> str:
    """`text` in the one written form that the module's docstring describes."""
    plain = text if _ODD.search(text) is None else text.translate(_ONE_TO_ONE)
    if _ODD.search(plain):
        return normalise_with_offsets(text)[0]
    plain = plain.replace("°C", "℃")
    plain = _HALF_BESIDE_HANZI.sub(lambda match: _TO_FULL[match.group()], plain)
    plain = _FULL_BETWEEN_DIGITS.sub(lambda match: _TO_HALF[match.group()], plain)
    return _BLANKS.sub(lambda match: "\n" if "\n" in match.group() else " ", plain).strip(" \n")
