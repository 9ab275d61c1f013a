"""Names that no label, role or title announces: they must look like names and stand where names stand.

========  ==========================================================================
opening   张建国，男，65岁 · 张建国(男，65岁) at the beginning of a sentence
brackets  会诊意见(李建华), 138…(张建国)
phone     a name directly before a telephone number
asked     由张建国签署 · 找李建华
free      a common surname and typical given characters with a boundary beside them
dotted    names of other peoples written with · (阿依古丽·买买提)
sounds    four characters and more that write the sounds of such names, with a boundary on both sides (古丽米热)
called    乳名壮壮, 患者姓谢, 老胡来诊
========  ==========================================================================

A rare surname in the middle of a sentence stays unseen unless the row's own columns say it (`known`).

>>> from emr_fl_shared.deidentify.recognisers.bare_names import BareNames
>>> text = "李国强,男,接诊时张淑珍神志清楚,阿依古丽·买买提在旁,冬季加重"
>>> sorted({text[s.start:s.end] for s in BareNames().find(text, {})})
['张淑珍', '李国强', '阿依古丽·买买提']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.name_shape import CHINESE, ClinicalWords, name_shape
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import characters

_RUN = re.compile(f"[{CHINESE}]+(?:[·.][{CHINESE}]+)+")
_DOT = re.compile(r"[·.]")
_DOT_BETWEEN = re.compile(f"[·.](?<=[{CHINESE}].)(?=[{CHINESE}])")
_BLANKS = re.compile(f"[{CHINESE}] {{1,2}}[{CHINESE}]")
_SEX = r"[ ]?[,、 (][ ]?(?:男|女)(?![儿婿友士孩方科])"
_OPENING = re.compile(rf"[\n。;!,:][ ]*([{CHINESE}·]{{2,6}})(?:[ ]?(?=,)|{_SEX})")
_SEX_NEXT = re.compile(_SEX)
_SPEAKER = re.compile(rf"\n([{CHINESE}]{{2,4}}):")
_IN_BED = re.compile(rf"\d[ ]?床[ ,:]{{0,2}}(?:患者|病人)?([{CHINESE}]{{2,4}})")
_SPACED = re.compile(
    rf"[{CHINESE}] {{1,2}}[{CHINESE}](?: {{1,2}}[{CHINESE}])?(?![ ]{{1,2}}[{CHINESE}](?:[ ]|$))"
)
_CELL = re.compile(rf"[|/<>\"@①-⑳\t][ ]?([{CHINESE}]{{2,4}})(?=[ ]?(?:[|/<>\"①-⑳\t\n:,]|$))")
_OPEN_CELL = re.compile(
    rf"[\n;,\d](?:(?<!\d)|[).、])[ ]?([{CHINESE}]{{2,4}})(?=[ ]?(?:[|/<>\"①-⑳\t]|[ ,]{{1,2}}(?:1[3-9]\d|\d{{6}})))"
)
_ROLES = ("患者", "病人", "患儿")
_IN_BRACKETS = re.compile(rf"\(([{CHINESE}]{{2,4}})\)")
_PHONE = re.compile(r"1[3-9]\d[- ]?\d{4}")
_BEFORE_PHONE = re.compile(
    rf"([{CHINESE}]{{2,4}})(?:\([^)\n]{{1,6}}\))?[ ,:]{{0,2}}(?:电话|手机|tel)?[ :]{{0,2}}$"
)
_CALLED = re.compile(
    rf"(?:乳名|小名|奶名|昵称|绰号|外号|网名|化名|花名)[为叫是:]{{0,2}}[ \"]?([{CHINESE}]{{2,3}})(?=[,。;、)\" \n(]|$)"
)
_TWICE = re.compile(
    rf"(?<![{CHINESE}])([{CHINESE}])\1(?=[爸妈](?![叫喊])|奶奶|爷爷|姥姥|外婆|家长|来诊|复诊|发?热)"
)
_SURNAME_ONLY = re.compile(rf"(?<![同贵])姓[ ]?([{CHINESE}])(?=[,。;、)(\n]|$)")
_FAMILIAR = re.compile(
    rf"(?<![{CHINESE}])[老小]([{CHINESE}])(?=来[诊院电复]|复诊|就诊|自?诉|因|说|今[日天晨早]|昨[日天晚]|[,:])"
)
_LEFT_OF_CALLED = frozenset("属人子女妻夫父母弟妹兄姐者系友儿")
_ASKED = re.compile(rf"[由找请据]([{CHINESE}]{{3,4}})(?![{CHINESE}])")
_AFTER = re.compile(
    r"因|于|自[诉述]|诉|代诉|代述|神志|神清|陪|搀|回忆|在旁|补充|签|表示|要求|说|称|告知|电话|联系|昨|今[日晨晚天]|男|女|同意|拒绝|"
    r"入院|来诊|就诊|复诊|突发|反复|之[子女妻夫父母]"
)


@register
class BareNames:
    """See the module's docstring."""

    name = "bare_names"
    sources: tuple[str, ...] = (
        "surnames.txt",
        "given_characters.txt",
        "transliteration.txt",
        "name_parts.txt",
        "name_stops.txt",
        "protected.txt",
    )
    kinds: tuple[str, ...] = ("PATIENT_NAME", "RELATIVE_NAME")

    def __init__(self) -> None:
        self._shape = name_shape()
        self._foreign = characters("transliteration.txt")
        self._foreign_run = re.compile(f"[{''.join(sorted(self._foreign))}]{{4,8}}")
        shape = self._shape
        one, first, second, given = (
            "".join(sorted(characters))
            for characters in (
                shape.clear | shape.ambiguous,
                {name[0] for name in shape.compound},
                {name[1] for name in shape.compound},
                shape.given,
            )
        )
        self._surname_at = re.compile(
            f"[{one}{first}](?:(?<=[{one}])(?=[{given}])|(?<=[{first}])(?=[{second}][{given}]))"
        )

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of names that nothing announces; see `Recogniser`."""
        clinical = self._shape.words_of(text)
        for match in _OPENING.finditer("\n" + text):
            yield from self._opening(text, match.start(1) - 1, match.end(1) - 1, clinical)
        for match in _PHONE.finditer(text):
            before = _BEFORE_PHONE.search(text, max(0, match.start() - 20), match.start())
            if before:
                yield from self._beside_phone(text, *before.span(1), clinical)
        if "(" in text:
            for match in _IN_BRACKETS.finditer(text):
                yield from self._in_brackets(text, *match.span(1), clinical)
        for match in _ASKED.finditer(text):
            start, end = match.span(1)
            surname = self._shape.surname(text, start)
            fits = surname + 2 == end - start and self._shape.is_given(text[start + surname : end])
            if surname and fits and not clinical.refuse(start, end):
                yield Span(start, end, "RELATIVE_NAME", 0.75)
        yield from self._free(text, clinical)
        yield from self._cells(text, clinical)
        yield from self._in_bed(text, clinical)
        if " " in text and _BLANKS.search(text):
            yield from self._spaced(text)
        for start, end in self._shape.names_without_surname(text):
            if not clinical.hold(start, end):
                yield Span(start, end, "PATIENT_NAME", 0.8)
        if _DOT_BETWEEN.search(text):
            yield from self._dotted(text)
        yield from self._sounds(text, clinical)
        yield from self._called(text, clinical)

    def _opening(self, text: str, start: int, end: int, clinical: ClinicalWords) -> Iterator[Span]:
        """A clause that opens with nothing but a name and a comma; with the sex behind it less is asked of the name."""
        shape = self._shape
        inside = start > 0 and text[start - 1] == "," and not text.endswith(_ROLES, 0, start - 1)
        if text.startswith(_ROLES, start) and end - start > 3:
            start += 2
        surname = shape.surname(text, start)
        given = text[start + surname : end]
        if not surname or not 1 <= len(given) <= 2:
            return
        clear = shape.is_clear(text, start)
        if _SEX_NEXT.match(text, end):
            ordinary = (clinical.hold if shape.is_given(given) else clinical.refuse)(start, end)
            fits = shape.is_given(given) or (clear and shape.may_be_given(given))
            if fits and (clear or not inside) and not ordinary:
                yield Span(start, end, "PATIENT_NAME", 0.93)
        elif (clear or (len(given) == 2 and not inside)) and shape.length(
            text, start, clinical
        ) == end - start:
            yield Span(start, end, "PATIENT_NAME", 0.8)

    def _beside_phone(self, text: str, first: int, end: int, clinical: ClinicalWords) -> Iterator[Span]:
        for length in (3, 2, 4):
            start = end - length
            if start == first and self._shape.is_usual(text[start:end]):
                yield Span(start, end, "RELATIVE_NAME", 0.8)
                return
            surname = self._shape.surname(text, start) if start >= first else 0
            given = text[start + surname : end]
            if not surname or not 1 <= len(given) <= 2 or not self._shape.is_given(given):
                continue
            bounded = start == first or text[start - 1] in _LEFT_OF_CALLED
            if bounded and not clinical.refuse(start, end):
                yield Span(start, end, "RELATIVE_NAME", 0.8)
                return

    def _in_brackets(self, text: str, start: int, end: int, clinical: ClinicalWords) -> Iterator[Span]:
        """A name alone in brackets; behind a number less is asked of it."""
        shape = self._shape
        surname = shape.surname(text, start)
        given = text[start + surname : end]
        if not surname or not 1 <= len(given) <= 2 or clinical.refuse(start, end):
            return
        behind_number = start >= 2 and (text[start - 2].isdigit() or text[start - 2] == "]")
        if shape.is_clear(text, start):
            fits = shape.is_given(given) or (behind_number and shape.may_be_given(given))
        else:
            fits = shape.is_given(given) and (behind_number or len(given) == 2)
        if fits:
            yield Span(start, end, "RELATIVE_NAME", 0.85)

    def _free(self, text: str, clinical: ClinicalWords) -> Iterator[Span]:
        """A common surname and two given characters need a boundary on one side, one given character or a rare surname
        on both."""
        shape = self._shape
        for match in self._surname_at.finditer(text):
            start = match.start()
            surname = shape.surname(text, start)
            clear = surname == 2 or text[start] in shape.clear
            left = shape.begins(text, start)
            if not surname or not (clear or left):
                continue
            for given in (2, 1) if clear or shape.is_common(text, start) else (2,):
                end = start + surname + given
                if end > len(text) or not shape.is_given(text[start + surname : end]):
                    continue
                right = shape.ends(text, end) or _AFTER.match(text, end) is not None
                bounded = (left or right) if clear and given == 2 else (left and right)
                if bounded and not clinical.refuse(start, end):
                    yield Span(start, end, "PATIENT_NAME", 0.7)
                    break

    def _cells(self, text: str, clinical: ClinicalWords) -> Iterator[Span]:
        """A name that fills a cell of a table or list: marks that no sentence has stand around it."""
        shape = self._shape
        cells = [match.span(1) for match in _CELL.finditer(text)]
        cells += [(m.start(1) - 1, m.end(1) - 1) for m in _OPEN_CELL.finditer("\n" + text)]
        for start, end in cells:
            surname = shape.surname(text, start)
            given = text[start + surname : end]
            clear = shape.is_clear(text, start)
            if not surname or not 1 <= len(given) <= 2 or clinical.refuse(start, end):
                continue
            if shape.is_given(given) or (clear and shape.may_be_given(given)):
                yield Span(start, end, "PATIENT_NAME", 0.75)

    def _in_bed(self, text: str, clinical: ClinicalWords) -> Iterator[Span]:
        """A name directly behind the number of a bed, and one that speaks (a line that opens with a name and a colon)."""
        shape = self._shape
        if "床" in text:
            for match in _IN_BED.finditer(text):
                start = match.start(1)
                surname = shape.surname(text, start)
                end = start + surname + 2
                if not surname or not shape.is_given(text[start + surname : end]) or end > len(text):
                    end = start + (shape.length(text, start, clinical) if surname else 0)
                if end > start and not clinical.refuse(start, end):
                    yield Span(start, end, "PATIENT_NAME", 0.85)
        for match in _SPEAKER.finditer("\n" + text) if ":" in text else ():
            start, end = match.start(1) - 1, match.end(1) - 1
            if shape.length(text, start, clinical) == end - start:
                yield Span(start, end, "STAFF_NAME", 0.8)

    def _spaced(self, text: str) -> Iterator[Span]:
        """Two or three characters with blanks between them: a surname, common if one character follows, and given names."""
        shape = self._shape
        for match in _SPACED.finditer(text):
            value = match.group().replace(" ", "")
            bounded = shape.begins(text, match.start()) and shape.ends(text, match.end())
            surname = value[0] in shape.clear or (len(value) == 3 and value[0] in shape.ambiguous)
            word = shape.words_of(value).refuse(0, len(value))
            if bounded and surname and shape.is_given(value[1:]) and not word:
                yield Span(match.start(), match.end(), "PATIENT_NAME", 0.8)

    def _dotted(self, text: str) -> Iterator[Span]:
        """Characters that write such names on both sides of a ·."""
        for match in _RUN.finditer(text):
            value = match.group()
            if not _DOT.search(value.strip("·.")) or len(value) > 30:
                continue
            at = left = min(value.find(dot) for dot in "·." if dot in value)
            while left > 0 and value[left - 1] in self._foreign and at - left < 8:
                left -= 1
            right = at + 1
            while (
                right < len(value)
                and right - at < 14
                and (value[right] in self._foreign or value[right] in "·.")
            ):
                right += 1
            if at - left >= 2 and right - at - 1 >= 2:
                yield Span(match.start() + left, match.start() + right, "PATIENT_NAME", 0.9)

    def _sounds(self, text: str, clinical: ClinicalWords) -> Iterator[Span]:
        """Characters that write the sounds of names of other peoples, between two boundaries."""
        shape = self._shape
        for match in self._foreign_run.finditer(text):
            start, end = match.span()
            while end - start > 3 and shape.is_announced(text, start + 1) and not shape.begins(text, start):
                start += 1
            bounded = (
                shape.begins(text, start)
                and shape.ends(text, end)
                and "·" not in (text[start - 1 : start], text[end : end + 1])
                and not shape.is_named_after(text, end)
            )
            if bounded and end - start >= 4 and not any(clinical.begins(at) for at in range(start, end - 1)):
                yield Span(start, end, "PATIENT_NAME", 0.65)

    def _called(self, text: str, clinical: ClinicalWords) -> Iterator[Span]:
        """A pet name, a surname alone, and a surname behind 老 or 小."""
        for match in _CALLED.finditer(text) if "名" in text or "号" in text or "称" in text else ():
            yield Span(*match.span(1), "PATIENT_NAME", 0.85)
        for match in _TWICE.finditer(text):
            if not clinical.begins(match.start()):
                yield Span(*match.span(), "PATIENT_NAME", 0.75)
        for match in _SURNAME_ONLY.finditer(text) if "姓" in text else ():
            if self._shape.surname(text, match.start(1)):
                yield Span(*match.span(1), "PATIENT_NAME", 0.85)
        for match in _FAMILIAR.finditer(text) if "老" in text or "小" in text else ():
            if self._shape.is_clear(text, match.start(1)) and not clinical.begins(match.start()):
                yield Span(*match.span(), "PATIENT_NAME", 0.75)
