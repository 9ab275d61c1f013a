"""Reading ICD-10 codes as Chinese hospitals write them, and ranges of three-character categories.

`I10`, `Ｉ１０`, `I10.x00`, `I10xx02`, `I10.x00x002` and `i10` are one category. What only looks like one is refused:
tumour morphology (`M80000/3` is not M80), codes of Chinese medicine (`A01.03.01` is not A01) and typing errors
(`110.x00`). Of a dagger/asterisk pair (`A17.0†G01*`) the dagger half counts: it is the disease, the asterisk half its
manifestation (ICD-10, volume 2, 3.1.3).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MORPHOLOGY = "morphology"
TCM = "tcm"
TYPING_ERROR = "typing-error"
NOT_A_CODE = "not-a-code"
UNMAPPED = "unmapped"
ASTERISK = "asterisk"

_MORPHOLOGY = re.compile(r"^M?-?\d{4,6}/\d[A-Z0-9]*$")
# GB/T 15657-2021: letter, then groups of two digits; two dots tell it from ICD-10. GB/T 15657-1995: BNX010, ZYFL10.
_TCM = re.compile(r"^[A-Z]\d{2}(?:\.\d{2}){2,}\.?$|^[BZ][A-Z]{2,4}\d{1,3}$")
_CODE = re.compile(r"^([A-Z])(\d{2})(?:\.?[0-9X]{1,4}(?:X?\d{1,4})?)?$")
_NEARLY = re.compile(r"^[0-9A-Z|][0-9OIL|]{2}(?:[.X][0-9XOIL.]*)?$|^[A-Z]\d(?:\.[0-9X]+)?$|^[A-Z]{2}\d{2}\.")
_PAIR = re.compile(r"^([A-Z][0-9A-Z.]*?)([+†*＊])[/,]?([A-Z][0-9A-Z.]*?)([+†*＊]?)$")
_RANGE = re.compile(r"^([A-Z])(\d{2})(?:-([A-Z])(\d{2}))?$")


@dataclass(frozen=True, slots=True)
class ParsedCode:
    """A code as read: `category` such as `I10`, or empty with the `reason` of refusal.

    `other` is the category of the asterisk half; `mark` is `†` or `*` if the code carried one.
    """

    category: str = ""
    reason: str = ""
    other: str = ""
    mark: str = ""


def _clean(raw: str) -> str:
    text = unicodedata.normalize("NFKC", raw).strip().upper()
    text = re.sub(r"[一-鿿(){}\[\]【】].*$", "", text)  # a name behind the code
    return re.sub(r"[\s'\"`‘’“”]+", "", text).strip(".,:;-_")


def parse_code(raw: str) -> ParsedCode:
    """Read one code. Never raises.

    >>> parse_code("Ｉ１０.x00x002").category
    'I10'
    >>> parse_code("A17.0†G01*")
    ParsedCode(category='A17', reason='', other='G01', mark='†')
    >>> parse_code("110.x00").reason
    'typing-error'
    """
    text = _clean(raw)
    if not text or not any(char.isdigit() for char in text):
        return ParsedCode(reason=NOT_A_CODE)
    if _MORPHOLOGY.match(text):
        return ParsedCode(reason=MORPHOLOGY)
    pair = _PAIR.match(text)
    if pair:
        first, mark, second, second_mark = pair.groups()
        dagger, star = (
            (second, first) if mark in "*＊" and second_mark not in ("*", "＊") else (first, second)
        )
        parsed = _single(dagger)
        other = _single(star).category
        return ParsedCode(parsed.category, parsed.reason, other, "†" if parsed.category else "")
    mark = ""
    if text[-1] in "+†*＊":
        mark = "*" if text[-1] in "*＊" else "†"
        text = text[:-1]
    parsed = _single(text)
    return ParsedCode(parsed.category, parsed.reason, "", mark if parsed.category else "")


def _single(text: str) -> ParsedCode:
    if _TCM.match(text):
        return ParsedCode(reason=TCM)
    match = _CODE.match(text)
    if match:
        return ParsedCode(match.group(1) + match.group(2))
    if _NEARLY.match(text):
        return ParsedCode(reason=TYPING_ERROR)
    return ParsedCode(reason=NOT_A_CODE)


def category_index(category: str) -> int:
    """A category as a number that keeps the order of ICD-10: A00 → 0, A01 → 1, B00 → 100, Z99 → 2599."""
    return (ord(category[0]) - ord("A")) * 100 + int(category[1:3])


def parse_range(text: str) -> tuple[int, int]:
    """First and last category index of `I10-I15`, `E78` or `C00-D48`. Raises `ValueError` if it is not such a range."""
    cleaned = (
        re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper().replace("–", "-").replace("~", "-")
    )
    match = _RANGE.match(cleaned)
    if not match:
        raise ValueError("not a range of three-character categories")
    first = category_index(match.group(1) + match.group(2))
    last = category_index(match.group(3) + match.group(4)) if match.group(3) else first
    if last < first:
        raise ValueError("ends before it begins")
    return first, last
