"""Names that nothing announces and no list holds, by how likely their characters are in a name and in other text.

The score of a surname and one or two given characters is the sum of the log-odds of its characters in their places
(`name_odds.tsv`). It is a name if no word of a general dictionary (rjieba's, which is jieba's) or of the clinical lists cuts into it or
begins it, and if the score is high enough for what stands on its two sides: a mark, a character that stands before names, the end
of a word, or a single character, which tells little. What holds a part of a drug's name (`drug_parts.txt`) is none.

The roles of characters in the places of a name are those of Zhang and Liu, "Automatic recognition of Chinese personal names based on
role tagging" (Chinese Journal of Computers 27(1), 2004), without the transitions between them.

>>> from emr_fl_shared.deidentify.recognisers.likely_names import LikelyNames
>>> text = "接诊护士罗懿春测体温,已由门诊部赵跃琪解释,时有咳嗽,马上来院"
>>> [text[s.start:s.end] for s in LikelyNames().find(text, {})]
['罗懿春', '赵跃琪']
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate

import rjieba

from emr_fl_shared.deidentify.name_shape import is_chinese, name_shape
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import rows, words

_TELLING, _SILENT = True, False
_LEAST = {
    # given characters, whether something on the left and on the right tells of a boundary: least score
    (2, _TELLING, _TELLING): 1.0,
    (2, _TELLING, _SILENT): 2.5,
    (2, _SILENT, _TELLING): 5.5,
    (2, _SILENT, _SILENT): 9.0,
    (1, _TELLING, _TELLING): 2.5,
    (1, _TELLING, _SILENT): 4.5,
    (1, _SILENT, _TELLING): 7.0,
}
_WORD_INSIDE = 2.0
"""So much more is asked of a name whose given characters are a word (孙红梅)."""
_LOWEST = {given: min(least for key, least in _LEAST.items() if key[0] == given) for given in (1, 2)}


@register
class LikelyNames:
    """See the module's docstring."""

    name = "likely_names"
    sources: tuple[str, ...] = (
        "name_odds.tsv",
        "drug_parts.txt",
        "surnames.txt",
        "name_stops.txt",
        "protected.txt",
    )
    kinds: tuple[str, ...] = ("PATIENT_NAME",)

    def __init__(self) -> None:
        self._shape = name_shape()
        self._surname: dict[str, float] = {}
        self._given: tuple[dict[str, float], ...] = ({}, {}, {})
        for characters, surname, *given in rows("name_odds.tsv"):
            if surname:
                self._surname[characters] = float(surname)
            for odds, value in zip(self._given, given, strict=True):
                if value:
                    odds[characters] = float(value)
        self._drug = re.compile("|".join(words("drug_parts.txt")))
        first = "".join(sorted({surname[0] for surname in self._surname}))
        self._begins = re.compile(f"[{first}](?=[一-鿿])")

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of likely names; see `Recogniser`."""
        clinical = self._shape.words_of(text)
        general = _Words(text)
        reached = 0
        for match in self._begins.finditer(text):
            start = match.start()
            if start < reached:
                continue
            for end, given, score in self._names_at(text, start):
                if (
                    score >= _LOWEST[given]
                    and not clinical.refuse(start, end)
                    and general.leave(start, end - given, end)
                    and self._is_enough(score, text, start, end, given, general)
                    and not self._is_thing(text, start, end)
                ):
                    yield Span(start, end, "PATIENT_NAME", 0.6)
                    reached = end
                    break

    def _is_enough(self, score: float, text: str, start: int, end: int, given: int, general: _Words) -> bool:
        """Whether the score is as high as what stands on the two sides asks for."""
        left = start == 0 or self._shape.is_announced(text, start) or general.bounded(start, -1)
        right = self._shape.ends(text, end) or general.bounded(end, 1)
        least = _LEAST.get((given, left, right))
        return least is not None and score >= least + _WORD_INSIDE * general.hold(end - given, end)

    def _is_thing(self, text: str, start: int, end: int) -> bool:
        """Whether it is a part of a drug's name, or something is named after it (见豪-乔小体)."""
        return (
            self._drug.search(text, max(0, start - 1), end + 1) is not None
            or self._shape.is_named_after(text, end)
            or "-" in (text[start - 1 : start], text[end : end + 1])
            or text[end - 1] in "氏征病症瘤炎"
        )

    def _names_at(self, text: str, start: int) -> Iterator[tuple[int, int, float]]:
        """End, number of given characters and score of what may be a name at `start`, the longest first."""
        two, one = text[start : start + 2], text[start]
        surname = two if two in self._surname else one
        odds = self._surname.get(surname)
        if odds is None:
            return
        first, second, only = self._given
        end = start + len(surname)
        given = text[end : end + 2]
        if len(given) == 2 and given[0] in first and given[1] in second:
            yield end + 2, 2, odds + first[given[0]] + second[given[1]]
        if given and given[0] in only:
            yield end + 1, 1, odds + only[given[0]]


class _Words:
    """The most probable words of a text by a general dictionary, found when they are first asked for."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _begins(self) -> list[int]:
        """Where each word begins, and the end of the text."""
        return [0, *accumulate(map(len, rjieba.cut(self._text, False)))]

    def _at(self, place: int) -> tuple[int, int]:
        """Where the word at `place` begins and ends."""
        after = bisect_right(self._begins, place)
        return self._begins[after - 1], self._begins[after]

    def leave(self, start: int, surname_end: int, end: int) -> bool:
        """Whether no word reaches over either end, or from the surname into the given name; the whole may be in the dictionary, as a name."""
        begins, ends = self._at(start)
        if (begins, ends) == (start, end):
            # Words of two characters that are marked as names there are mostly words (温馨, 祝贺).
            return end - start > 2 and rjieba.tag(self._text[start:end], False)[0][1].startswith("nr")
        return begins == start and ends <= surname_end and self._at(end - 1)[1] == end

    def hold(self, start: int, end: int) -> bool:
        """Whether this is one word of several characters."""
        return end - start > 1 and self._at(start) == (start, end)

    def bounded(self, place: int, side: int) -> bool:
        """Whether a mark or a word of several characters stands on this side of `place`."""
        neighbour = place if side > 0 else place - 1
        begins, ends = self._at(neighbour)
        return ends - begins > 1 or not is_chinese(self._text[neighbour])
