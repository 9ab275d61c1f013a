"""Names between words that stand beside names (`name_flanks.tsv`), however rare or short the name.

What the name itself lacks, its neighbours make up for. Each side is worth 2 if such a word stands there, 3 if it can only be said
of a person (之子, (女儿), (身份证, 12床), 1 if no Chinese character or a clinical term does, else 0. The more a name could be an ordinary word, the more the two must add up to:

=====  ===================================================================
sum    name
=====  ===================================================================
2      surname that is no word and typical characters; one of the commonest that are words, too (何, 高), and two
3      one of these and one typical character; any other surname and two; a surname that is no word and characters that are not typical
4      any other surname and one; a word that people bear as a name (文静)
=====  ===================================================================

>>> from emr_fl_shared.deidentify.recognisers.flanked_names import FlankedNames
>>> text = "何静(女儿)代诉,遵文静医嘱,找到石坚,嘱其复查;平安出院,明显好转"
>>> [text[s.start:s.end] for s in sorted(FlankedNames().find(text, {}))]
['何静', '文静', '石坚']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.name_shape import ClinicalWords, is_chinese, name_shape
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import automaton, rows

_DATE = r"(?:19|20)\d\d[-/.年]"
_GAP = " :\"'"


@register
class FlankedNames:
    """See the module's docstring."""

    name = "flanked_names"
    sources: tuple[str, ...] = ("name_flanks.tsv", "surnames.txt", "given_characters.txt", "name_stops.txt")
    kinds: tuple[str, ...] = ("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME")

    def __init__(self) -> None:
        self._shape = name_shape()
        listed = {side: value.split("|") for side, value in rows("name_flanks.tsv")}
        before: dict[str, object] = {word: (len(word), "RELATIVE_NAME") for word in listed["left"]}
        for side, kind, cues in rows("name_cues.tsv"):
            before.update({cue: (len(cue), kind) for cue in cues.split("|") if side == "role"})
        self._left = automaton(before)
        self._right = automaton({word: len(word) for word in listed["right"]})
        kin = "|".join(sorted(listed["kin"], key=lambda word: (-len(word), word)))
        # Marks and words behind a name; the name ends where they begin.
        self._behind = re.compile(
            rf"[ ]?\((?:{kin}|系?患者(?:之|的)?(?:{kin})|本人|身份证|病[案历]号|住院号|门诊号|ID|\d{{1,4}}床|[男女][,、)])"
            rf"|[, ][ ]?(?:患者(?:之|的)?(?:{kin})|(?:男|女)[,、。 ]|性别|身份证|现?住(?!院)|家住|现年|年龄|[男女]性?\d|\d{{1,3}}岁|[+加]?[A-Z]?-?\d{{1,4}}床)"
            rf"|(?:之|的|系|为|是患者(?:的|之)?)(?:{kin})|[ ,]{{1,2}}{_DATE}|[ ,:|/]{{1,2}}\(?\+?\d{{6}}"
        )
        self._before = re.compile(rf"{_DATE}\d{{1,2}}[-/.月]\d{{1,2}}日?[ ,]{{1,2}}|\d[ ]?床(?:患者|病人)?[ ,:]{{0,2}}")

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of names between such words; see `Recogniser`."""
        right = dict.fromkeys((last - length + 1 for last, length in self._right.iter(text)), 2)
        right.update(dict.fromkeys((match.start() for match in self._behind.finditer(text)), 3))
        # A word of two characters and more is whole where it ends; a single one (经, 与) may be the beginning of another.
        left = {last + 1: (2, length > 1, kind) for last, (length, kind) in self._left.iter(text)}
        for match in self._before.finditer(text):
            left[match.end()] = (3, True, "PATIENT_NAME")
        clinical = self._shape.words_of(text)
        seen: set[int] = set()
        for begin, (worth, whole, kind) in left.items():
            start = begin
            while start < len(text) and text[start] in _GAP:
                start += 1
            if start < begin + 3:
                seen.add(start)
                found = self._beginning_at(text, start, worth, whole, right, clinical)
                if found:
                    yield Span(start, found, kind, 0.85)
        for end in right:
            for start in range(end - 2, max(-1, end - 5), -1):
                if start not in seen:
                    bounded = start == 0 or not is_chinese(text[start - 1])
                    found = self._beginning_at(text, start, int(bounded), bounded, {end: right[end]}, clinical)
                    if found:
                        yield Span(start, found, "PATIENT_NAME", 0.85)

    def _beginning_at(
        self, text: str, start: int, left: int, whole: bool, right: Mapping[int, int], clinical: ClinicalWords
    ) -> int:
        """Where the longest name at `start` that its sides bear out ends, or 0; `left` is the worth of what stands before it."""
        shape = self._shape
        surname = shape.surname(text, start)
        clear = shape.is_clear(text, start)
        for length in (surname + 2, surname + 1) if surname else ():
            end = start + length
            given = text[start + surname : end]
            if end > len(text) or not shape.may_be_given(given) or (left == 0 and (len(given) < 2 or end not in right)):
                continue
            behind = right.get(end, 0)
            if not behind:
                firm = end == len(text) or not is_chinese(text[end])
                soft = (clear or len(given) == 2 or left == 3) and (shape.ends(text, end) or clinical.begins(end))
                behind = int(firm or soft)
            needed = self._needed(text, start, end, surname)
            if not behind or not needed or left + behind < needed:
                continue
            # A name that is longer than the herb or place it begins with is a name, if enough speaks for it.
            longer = len(given) == 2 and shape.is_given(given) and left + behind >= (3 if clear else 5)
            word = clinical.hold(start, end) if longer or (whole and left >= 2) else clinical.refuse(start, end)
            if word or (clinical.cut(start) and not (whole and longer and behind > 1)):
                continue
            if whole and not longer and clinical.begins(start):
                continue
            if not clear and (shape.is_time(given) or (len(given) == 2 and clinical.begins(start + surname, end))):
                continue
            return end
        return 0

    def _needed(self, text: str, start: int, end: int, surname: int) -> int:
        """What the two sides must add up to; 0 if nothing would do."""
        shape = self._shape
        given = text[start + surname : end]
        typical = shape.is_given(given)
        if shape.is_usual(text[start:end]):
            return 4
        if shape.is_clear(text, start):
            return 2 if typical else 3
        common = shape.is_common(text, start)
        if not typical:
            return 4 if common else 0
        if len(given) == 2:
            return 2 if common else 3
        return 3 if common else 4
