"""Telephone numbers: mobiles (1[3-9] and nine digits), land lines with area code, 400/800 numbers, numbers behind 电话.

Blanks and dashes inside the digits are allowed; a number may be glued to the mark of a list (`138001380002.出院`).
Twelve- and fourteen-digit time stamps of laboratory systems are not taken for telephones.

>>> from emr_fl_shared.deidentify.recognisers.phone import Phone
>>> sorted({tuple(span[:3]) for span in Phone().find("联系电话138-0013-8000，采血20240311093000", {})})
[(4, 17, 'PHONE')]
>>> [text[s.start:s.end] for text in ["0571-86543210转分机 801"] for s in Phone().find(text, {})]
['0571-86543210转分机 801']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span

_S = r"(?:[ \-.·_]| {2})?"
_EXTENSION = r"(?:[ ]?(?:转分机|转接|转|分机号?|[-*]|ext\.?)[ :]{0,2}\d{1,5}(?!\d)(?:分机)?)?"
_MOBILE = Guarded(
    rf"(?<![\d])(?:(?:\+|\(\+?|00)?86\)?[ -]?|0)?1[3-9]{_S}\d(?:{_S}\d){{8}}(?:(?!\d)|(?=\d{{1,2}}[.、)]\D)|(?=\d[.、)]$))",
    r"[+(081](?<!\d.)(?:(?<=1)[3-9]|(?<=8)6|(?<=0)[01]|(?<=[+(])[+8])",
)
_LAND = Guarded(
    r"(?:(?<![\d.])|(?<=\D\d\.))(?:\(0[1-9]\d{1,2}\)|0[1-9]\d{1,2}|\+86[ -]\d{2,3}(?=-))[ -]{0,2}[1-9]\d{2,3}[ -]?(?:\d{4}|(?<= )\d{3})(?!\d)"
    + _EXTENSION,
    r"[(0+](?:(?<![\d.].)|(?<=\D\d\..))(?=\d\d)",
)
_SERVICE = Guarded(
    r"(?<!\d)[48]00[ -]?\d{3,4}[ -]?\d{3,4}(?!\d)",
    r"[48](?<!\d.)(?=00)",
)
_CUE = re.compile(
    r"(?:宅电|传真|FAX|Fax|fax|咨询|热线|总机|值班室|护士站|办公室|内线|回电|联系电话|联系方式|联系号码|电话号码|手机号码|电话|手机号|手机|座机|固话|分机|致电|拨打|来电|tel(?:ephone)?|mobile|phone|TEL|Tel|Phone|Mobile)"
    r"(?:[\u4e00-\u9fff]{0,3}\))?[ ]*[:#是为(|]?[ ]*(\+?\(?\d(?:[ \-()]?\d){5,14}" + _EXTENSION + ")"
)
_MASKED = Guarded(
    r"(?<!\d)1[3-9]\d[*xX]{4,8}\d{0,4}(?!\d)",
    r"1(?<!\d.)(?=\d\d[*xX])",
)
_TAIL = re.compile(r"(?:尾号|后[四4]位|末[四4]位)[ ]*[:是为]?[ ]*(\d{4})(?!\d)")


@register
class Phone:
    """See the module's docstring."""

    name = "phone"
    sources: tuple[str, ...] = ("numbering plan of mainland China (mobiles 1[3-9], area codes 0xx and 0xxx)",)
    kinds: tuple[str, ...] = ("PHONE",)
    _run = re.compile(r"\d(?:[ \-.·_()]{0,2}[\d*xX]){5}")

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of telephone numbers; see `Recogniser`."""
        if "位" in text or "尾号" in text:
            for match in _TAIL.finditer(text):
                yield Span(match.start(1), match.end(1), "PHONE", 0.9)
        if not self._run.search(text):
            return
        for match in _MOBILE.finditer(text):
            yield Span(match.start(), match.end(), "PHONE", 0.96)
        for match in _CUE.finditer(text):
            yield Span(match.start(1), match.end(1), "PHONE", 0.95)
        for pattern, score in ((_LAND, 0.92), (_SERVICE, 0.9), (_MASKED, 0.92)):
            for match in pattern.finditer(text):
                yield Span(match.start(), match.end(), "PHONE", score)
