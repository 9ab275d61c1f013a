"""Ages of 90 and over, which few people share (HIPAA, 45 CFR 164.514(b)(2)(i)(C)): one band takes their place.

>>> from emr_fl_shared.deidentify.recognisers.ages import Ages
>>> text = "患者95岁，其父九十二岁，90岁以上者，心率95次"
>>> [text[s.start:s.end] for s in Ages().find(text, {})]
['95岁', '九十二岁']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span

_PATTERN = re.compile(
    r"(?<![\d.~\-])(?:9\d|1[01]\d|12[0-5])[ ]?[余多来]?[ ]?(?:周?岁|[Yy](?:ears?|rs?)?(?:[ -]?old)?(?![A-Za-z])|[Yy]/?[Oo](?![A-Za-z]))(?!以上|及以上)"
    r"|(?<![一二三四五六七八九])九十[一二三四五六七八九]?[余多来几]?[ ]?周?岁(?!以上)"
    r"|一?百(?:零?[一二三四五六七八九]|一?十[一二三四五六七八九]?)?[余多来]?岁(?!以上|[草兰])"
)
_HIGH = re.compile(r"9\d|1[012]\d|九十|百")
_CUE = re.compile(r"[年现享今Aa](?:(?<=年)[龄已]|(?<=[现享今])年|(?<=[Aa])ge)")
_CUED = re.compile(
    r"(?:年龄|现年|年已|享年|今年|[Aa]ge)[ ]*[:为是|(]?[ ]*((?:9\d|1[01]\d|12[0-5])|九十[一二三四五六七八九]?|一?百零?[一二三四五六七八九]?)(?![\d.岁一二三四五六七八九十]|[ ]?(?:天|日|月|周|小时))"
)


@register
class Ages:
    """See the module's docstring."""

    name = "ages"
    sources: tuple[str, ...] = ("45 CFR 164.514(b)(2)(i)(C)",)
    kinds: tuple[str, ...] = ("AGE90",)

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of ages of 90 and over; see `Recogniser`."""
        if ("岁" in text or "y" in text or "Y" in text) and _HIGH.search(text):
            for match in _PATTERN.finditer(text):
                yield Span(match.start(), match.end(), "AGE90", 0.92)
        if _CUE.search(text):
            for match in _CUED.finditer(text):
                yield Span(match.start(1), match.end(1), "AGE90", 0.9)
