"""Resident identity cards: 18 characters (GB 11643-1999), the older 15 digits, and what follows the words for one.

The checksum ranks confidence and never decides: more than half of the numbers in real notes fail it, most of them by
a typing error. Digits may be broken up by blanks or dashes, and may be glued to the mark of a list (`…7512.出院`).

>>> from emr_fl_shared.deidentify.recognisers.id_card import IdCard
>>> [tuple(span[:3]) for span in IdCard().find("身份证11010119900307751X2.出院", {})]
[(3, 21, 'ID_CARD')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span

_S = r"[ \-.·_]?"
_YEAR = rf"(?:1{_S}9|2{_S}0){_S}\d{_S}\d"
_DAY = rf"(?:0{_S}[1-9]|1{_S}[0-2]){_S}(?:0{_S}[1-9]|[12]{_S}\d|3{_S}[01])"
_EIGHTEEN = Guarded(
    rf"(?<!\d)[1-9](?:{_S}\d){{5}}{_S}{_YEAR}{_S}{_DAY}(?:{_S}\d){{3}}{_S}[\dXx*](?![A-Za-z](?![.、):]))",
    r"[1-9](?<!\d.)(?=(?:[ \-.·_]?\d){12})",
)
_FIFTEEN = Guarded(
    r"(?<![\d.])[1-8]\d{5}\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}(?!\d)",
    r"[1-8](?<![\d.].)(?=\d{14})",
)
_LOOSE = Guarded(
    r"(?<![\d.])[1-9]\d{16}[\dXx](?![\d]|[A-Za-z](?![.、):]))",
    r"[1-9](?<![\d.].)(?=\d{16})",
)
_MASKED = Guarded(
    r"(?<!\d)[1-9]\d{2,9}[*xX]{4,12}\d{0,4}[\dXx]?(?![\dA-Za-z*])",
    r"[1-9](?<!\d.)(?=\d{2,9}[*xX])",
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def checksum_fits(number: str) -> bool:
    """Whether the last character of an 18-character number fits GB 11643 (ISO 7064, MOD 11-2)."""
    if len(number) != 18 or not number[:17].isdigit():
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()


@register
class IdCard:
    """See the module's docstring."""

    name = "id_card"
    sources: tuple[str, ...] = ("GB 11643-1999",)
    kinds: tuple[str, ...] = ("ID_CARD",)
    _long_run = re.compile(r"\d(?:[ \-.·_]?[\d*xX]){12}")

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of identity card numbers; see `Recogniser`."""
        if not self._long_run.search(text):
            return
        for match in _EIGHTEEN.finditer(text):
            compact = re.sub(r"[ \-.·_]", "", match.group())
            yield Span(match.start(), match.end(), "ID_CARD", 1.0 if checksum_fits(compact) else 0.97)
        for pattern, score in ((_FIFTEEN, 0.9), (_LOOSE, 0.9), (_MASKED, 0.9)):
            for match in pattern.finditer(text):
                yield Span(match.start(), match.end(), "ID_CARD", score)
