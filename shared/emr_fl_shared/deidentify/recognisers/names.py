"""Names of patients, staff and relatives that a word beside them announces.

A part-of-speech tagger finds three names in five and calls thousands of ordinary words names, so here evidence is needed:
a *label* (患者姓名：), a *role* (患者, 其子), a *title* (王主任) or a *form of address* (张先生). The stronger the evidence, the less the
name itself has to look like one:

==========  ======================================================================================================
label       with a colon any two to four characters up to a boundary are a name (姓名：高兴)
role        a surname and characters of given names; any two or three characters only before 陪同, 代诉, 签字 …
title/form  a surname in front, alone or with a given name
==========  ======================================================================================================

Cues: `name_cues.tsv`; looks: `name_shape`. Names without any such word: `bare_names`. Names are direct identifiers
(GB/T 37964-2019, 3.7).

>>> from emr_fl_shared.deidentify.recognisers.names import Names
>>> text = "患者张建国，请王主任查房，其子高兴陪同。"
>>> [(text[s.start:s.end], s.kind) for s in sorted(Names().find(text, {}))]
[('张建国', 'PATIENT_NAME'), ('王', 'STAFF_NAME'), ('高兴', 'RELATIVE_NAME')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from emr_fl_shared.deidentify.name_shape import CHINESE, ClinicalWords, is_chinese, name_shape
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.word_finder import WordFinder
from emr_fl_shared.deidentify.wordlists import rows, sections

_RUN = re.compile(f"[{CHINESE}·]+")
_AFTER_LABEL = re.compile(r"(?:\s*\([^)\n]{0,8}\))?[ ]*([:|>\[(=])?[\"' ]*")
_AFTER_ROLE = re.compile(r"(?:本人|姓名|名)?[ ]*([:(|>\[])?[\"' ]*(?:叫|姓名|名叫|为)?")
# Labels behind which hardly anything but a name stands.
_WEAK_LABELS = frozenset(
    [
        "执行",
        "核对",
        "采血",
        "检验",
        "送检",
        "收件",
        "麻醉",
        "报告",
        "书写",
        "交接",
        "巡回",
        "器械",
        "收费",
        "初审",
        "审批",
        "主管",
        "Re",
        "Name",
        "name",
    ]
)
_STRONG_LABEL = re.compile(r"[人者员师生士名]$|签[名字]$|护士长$")
_LATIN = re.compile(r"[A-Z][A-Za-z'-]{1,20}(?:[ ·][A-Z][A-Za-z'-]{1,20}){1,3}")
_SPACED = tuple(re.compile(f"[{CHINESE}](?: {{1,3}}[{CHINESE}]){{{count}}}") for count in (2, 1))
# What tells of the person whose name stood before the comma.
_PARTICULARS = re.compile(
    r"[ ]?[,(][ ]?(?:男|女|\d|住|现住|家住|籍贯|职业|务农|工人|退休|已婚|未婚|身份证|证件|电话|手机|联系|诊断|住院号|病[历案]号|门诊号|右利手|左利手|因|系|工龄|汉族|关系|\[)"
)
_DOTTED = re.compile(f"[{CHINESE}]{{2,8}}(?:[·.][{CHINESE}]{{2,9}}){{1,2}}")
_NEXT_NAME = re.compile(r"[ ]?[/、,&+和及][ ]?|[ ]{1,2}")
_SEX_OR_AGE = re.compile(r"[,、 (]{0,2}(?:男|女)(?![儿婿友士孩方])|[,、 (]{1,2}\d{1,3}[ ]?岁")
_SUBJECT_OF = re.compile(
    r"自诉|自述|诉[^求]|因|于|自[\d一二三四五六七八九十昨今半幼]|以[\"“”]|主因|缘于|入院|就诊|来诊|来院"
)
_ACCOMPANIES = re.compile(
    r"陪同|陪伴|陪护|陪诊|陪着|代诉|代述|代为|护送|送至|送来|送入|送其|口述|补充病史|补充诉|签字|签名|签署|搀扶|照顾|照料|携带|带来|抱来"
    r"|[ ]?\(?(?:电话|手机|联系)"
)
_DEMOGRAPHY = ("性别", "年龄", "男", "女", "男性", "女性")
_LEFT_OF_TITLE = frozenset(
    "管知让叫诉床名@等请由经与和及科遵随向告在找到给求诊院部室组邀示访让跟同对询系报谢据按听嘱托约见遇区楼是的被因为从将把长日今晨晚后前当者外内"
)
_LEFT_OF_ONE = frozenset("请由与遵随管找跟叫的报自")
_NOT_AFTER_FORM = re.compile(r"某?[医日院年月地处种些个一单校公工厂省市县区镇村店家品药病天次时人者]")
_MASKS = frozenset("某xX*×○")
_NEVER_ALONE = frozenset("经于从向由和与时常能都应须是有无")
_BEFORE_REN = frozenset("主责担现前信兼继连聘历就离首胜充放听委")  # 主任, 责任, 担任 … end in a surname


def _spread(cue: str) -> Iterator[str]:
    """The cue with blanks between its characters, as forms and scans have it (医 师 ：)."""
    if 2 <= len(cue) <= 4 and all(is_chinese(char) for char in cue):
        yield " ".join(cue)
        if len(cue) == 2:
            yield "  ".join(cue)


class _Cue(NamedTuple):
    type: str
    kind: str


@register
class Names:
    """See the module's docstring."""

    name = "names"
    sources: tuple[str, ...] = (
        "name_cues.tsv",
        "surnames.txt",
        "given_characters.txt",
        "name_words.txt",
        "word_names.txt",
        "name_stops.txt",
    )
    kinds: tuple[str, ...] = ("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME")

    def __init__(self) -> None:
        self._shape = name_shape()
        self._values = frozenset(sections("name_stops.txt")["values"])
        self._no_names = tuple(value for value in self._values if len(value) > 1)
        entries: dict[str, _Cue] = {}
        titles: set[str] = set()
        for cue_type, kind, listed in rows("name_cues.tsv"):
            for cue in listed.split("|"):
                for written in (cue, *_spread(cue)):
                    entries.setdefault(written, _Cue(cue_type, kind))
                if cue_type == "title":
                    titles.add(cue)  # 主任 is a title behind a name and a role before one
        self._titles = frozenset(titles)
        self._cues = WordFinder(entries)

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of announced names; see `Recogniser`."""
        cues = self._cues_in(text)
        if not cues:
            return
        clinical = self._shape.words_of(text)
        for start, end in cues:
            cue = self._cues[text[start:end]]
            if cue.type == "label":
                strong = _STRONG_LABEL.search(text, start, end) is not None
                weak = text[start:end] in _WEAK_LABELS
                yield from self._after_label(text, end, cue.kind, clinical, strong, weak)
            elif cue.type == "form":
                yield from self._before(text, start, end, cue.kind, clinical, form=True)
            else:
                if text[start:end] in self._titles:
                    yield from self._before(text, start, end, "STAFF_NAME", clinical, form=False)
                if cue.type == "role":
                    yield from self._after_role(text, end, cue.kind, clinical)

    def _cues_in(self, text: str) -> list[tuple[int, int]]:
        """Start and end of cues from left to right; one that lies inside a longer one is left out."""
        kept: list[tuple[int, int]] = []
        reach = -1
        for start, cue in self._cues.longest(text):
            if start + len(cue) > reach:
                reach = start + len(cue)
                kept.append((start, reach))
        return kept

    def _after_label(
        self, text: str, end: int, kind: str, clinical: ClinicalWords, strong: bool, weak: bool
    ) -> Iterator[Span]:
        gap = _AFTER_LABEL.match(text, end)
        assert gap is not None  # every part of the pattern may be empty
        start, colon = gap.end(), gap.group(1) is not None
        latin = _LATIN.match(text, start) if colon else None
        whole = latin or self._spaced_or_dotted(text, start)
        if whole:
            yield Span(start, whole.end(), kind, 0.95)
            following = _NEXT_NAME.match(text, whole.end())
            length = self._shape.length(text, following.end(), clinical) if following else 0
            if following and length and self._shape.ends(text, following.end() + length):
                yield Span(following.end(), following.end() + length, kind, 0.9)
            return
        length = self._labelled(text, start, clinical, sure=colon and not weak, strong=strong)
        while length:
            yield Span(start, start + length, kind, 0.97 if colon else 0.92)
            following = _NEXT_NAME.match(text, start + length)
            if kind == "PATIENT_NAME" or not following:
                return
            start = following.end()
            whole = self._spaced_or_dotted(text, start)
            if whole:
                yield Span(start, whole.end(), kind, 0.92)
                return
            length = self._shape.length(text, start, clinical) or self._shape.without_surname(text, start)
            if length and not self._shape.ends(text, start + length):
                return
            if not length and colon:
                run = _RUN.match(text, start)
                if run and following.group().strip() in ("、", "/") and self._shape.is_usual(run.group()):
                    length = len(run.group())

    def _spaced_or_dotted(self, text: str, start: int) -> re.Match[str] | None:
        """A name with blanks between its characters, or one of two parts with a dot between them."""
        shape = self._shape
        for pattern in _SPACED if text[start + 1 : start + 2] == " " and shape.surname(text, start) else ():
            spaced = pattern.match(text, start)
            given = spaced.group().replace(" ", "")[1:] if spaced else ""
            if spaced and shape.may_be_given(given) and shape.ends(text, spaced.end()):
                return spaced
        if not ("·" in text[start : start + 9] or "." in text[start : start + 9]):
            return None
        dotted = _DOTTED.match(text, start)
        if dotted and all(char in shape.foreign for char in dotted.group()[:2]):
            end = dotted.end()
            separator = max(dotted.group().rfind("·"), dotted.group().rfind(".")) + start
            while end > separator + 3 and text[end - 1] not in shape.foreign:
                end -= 1
            return re.compile(f".{{{end - start}}}").match(text, start)
        return None

    def _labelled(self, text: str, start: int, clinical: ClinicalWords, *, sure: bool, strong: bool) -> int:
        """Length of the name behind a label; with `sure` any characters will do."""
        run = _RUN.match(text, start)
        value = run.group() if run else ""
        if not value or value in self._values:
            return 0
        if "·" in value.strip("·"):
            return len(value.rstrip("·")) if len(value) <= 18 else 0
        shape = self._shape
        surname = shape.surname(text, start)
        foreign = shape.without_surname(text, start)
        if foreign >= 3:
            return foreign
        if not sure:
            if strong and shape.is_usual(value):
                return len(value)
            length = shape.length(text, start, clinical)
            if length:
                return length if shape.ends(text, start + length) else 0
            fits = surname and 1 <= len(value) - surname <= 2 and shape.may_be_given(value[surname:])
            if strong and fits and shape.is_given(value[surname:]):
                return len(value) if not clinical.hold(start, start + len(value)) else 0
            return len(value) if fits and not clinical.refuse(start, start + len(value)) else 0
        if len(value) < 2 or value.startswith(self._no_names):
            return 0
        if len(value) <= 4:
            for length in range(2, len(value)):
                if surname and (value[length:] in self._titles or value[length:] in _DEMOGRAPHY):
                    return length
            return len(value)
        for length in (surname + 2, surname + 1) if surname else ():
            if shape.is_given(value[surname:length]) and shape.follows(text, start + length):
                return length
        for length in range(max(2, surname + 1), 5):
            if shape.follows(text, start + length):
                return length
        return surname + 2 if surname else 0

    def _after_role(self, text: str, end: int, kind: str, clinical: ClinicalWords) -> Iterator[Span]:
        gap = _AFTER_ROLE.match(text, end)
        assert gap is not None  # every part of the pattern may be empty
        start, mark = gap.end(), gap.group(1)
        run = _RUN.match(text, start)
        if not run:
            return
        value = run.group()
        shape = self._shape
        surname = shape.surname(text, start)
        whole = self._spaced_or_dotted(text, start)
        if whole:
            yield Span(start, whole.end(), kind, 0.93)
            return
        foreign = shape.without_surname(text, start)
        if foreign >= 3:
            yield Span(start, start + foreign, kind, 0.9)
            return
        if (
            value not in self._values
            and shape.is_usual(value)
            and (mark or _PARTICULARS.match(text, run.end()))
        ):
            yield Span(start, run.end(), kind, 0.9)
            return
        if kind == "RELATIVE_NAME":
            # Someone who came along: any two or three characters, unless they are an ordinary word.
            for length in (2, 3, 4):
                if length <= len(value) and _ACCOMPANIES.match(text, start + length):
                    ordinary = not shape.is_clear(text, start) and clinical.refuse(start, start + length)
                    if not ordinary and shape.may_be_given(value[surname:length]) and (length < 4 or surname):
                        yield Span(start, start + length, kind, 0.92)
                    return
        if not surname:
            return
        # A whole run that is as long as a name: the boundary behind it stands in for characters of given names.
        sure = (
            mark
            or shape.is_clear(text, start)
            or _SEX_OR_AGE.match(text, run.end())
            or _PARTICULARS.match(text, run.end())
        )
        if mark == ":" and kind != "PATIENT_NAME" and 2 <= len(value) <= 3 and value not in self._values:
            yield Span(start, run.end(), kind, 0.9)
            return
        if sure and 1 <= len(value) - surname <= 2:
            lenient = mark and shape.is_given(value[surname:])
            if not (clinical.hold if lenient else clinical.refuse)(start, run.end()):
                yield Span(start, run.end(), kind, 0.95)
                return
        length = shape.length(text, start, clinical) or self._before_verb(text, start, clinical)
        if not length and kind != "PATIENT_NAME":
            length = shape.fits_common(text, start, clinical)
        if length:
            yield Span(start, start + length, kind, 0.85)

    def _before_verb(self, text: str, start: int, clinical: ClinicalWords) -> int:
        """Length of a common surname and any one or two characters before 因, 于, 自诉 …; else 0."""
        if text[start] not in self._shape.clear:
            return 0
        for length in (2, 3):
            if _SUBJECT_OF.match(text, start + length):
                given = self._shape.may_be_given(text[start + 1 : start + length])
                return length if given and not clinical.refuse(start, start + length) else 0
        return 0

    def _before(
        self, text: str, start: int, end: int, kind: str, clinical: ClinicalWords, *, form: bool
    ) -> Iterator[Span]:
        """A surname, or a surname and given name, directly before a title or form of address at `start` … `end`."""
        masked = form and text[start] in _MASKS
        if masked and (_NOT_AFTER_FORM.match(text, end) or not (start and is_chinese(text[start - 1]))):
            return
        shape = self._shape
        for length in (4, 3, 2, 1):
            first = start - length
            surname = shape.surname(text, first) if first >= 0 else 0
            if not surname or not 0 <= length - surname <= 2:
                continue
            before = text[first - 1] if first else " "
            boundary = not is_chinese(before) or before in _LEFT_OF_TITLE
            clear = shape.is_clear(text, first)
            given = text[first + surname : start]
            if given and not (shape.is_given(given) or (clear and boundary and shape.may_be_given(given))):
                continue
            if not clear and (
                not boundary or (length == 1 and is_chinese(before) and before not in _LEFT_OF_ONE)
            ):
                continue
            if length == 1 and text[first] in _NEVER_ALONE:
                continue
            if (text[first] == "任" and before in _BEFORE_REN) or clinical.refuse(first, start):
                continue
            yield Span(first, end if masked else start, kind, 0.9)
            return
