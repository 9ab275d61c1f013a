"""Names of patients, staff and relatives, found by the words beside them.

A part-of-speech tagger finds three names in five and calls thousands of ordinary words names, so here evidence
is needed: a *label* (患者姓名：), a *role* (患者, 其子), a *title* (王主任) or a *form of address* (张先生). The stronger the
evidence, the less the name itself has to look like one:

==========  =====================================================================================
label       with a colon any two to four characters up to a boundary are a name (姓名：高兴)
role        a surname and characters of given names; without a surname only before 陪同, 代诉, 签字 …
title/form  a surname in front, alone or with a given name
opening     `张建国，男，65岁` at the beginning of a sentence
beside      a surname and given name directly before a telephone number
dotted      names of other peoples written with · (阿依古丽·买买提)
==========  =====================================================================================

Lists: `name_cues.tsv`, `surnames.txt`, `given_characters.txt`, `name_stops.txt`, `protected.txt`,
`transliteration.txt` and the clinical lexicon. Kinds follow GB/T 37964-2019, annex A (direct identifiers).

>>> from emr_fl_shared.deidentify.recognisers.names import Names
>>> text = "患者张建国，请王主任查房，其子高兴陪同。"
>>> [(text[s.start:s.end], s.kind) for s in sorted(Names().find(text, {}))]
[('张建国', 'PATIENT_NAME'), ('王', 'STAFF_NAME'), ('高兴', 'RELATIVE_NAME')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import ahocorasick

from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import automaton, characters, findings, rows, sections, words

_CJK = "一-鿿㐀-䶿"
_RUN = re.compile(f"[{_CJK}·]+")
_AFTER_LABEL = re.compile(r"(?:\s*\([^)\n]{0,8}\))?[ ]*(:)?[ ]*")
_AFTER_ROLE = re.compile(r"[ ]*([:(])?[ ]*")
_LATIN = re.compile(r"[A-Z][A-Za-z'-]{1,20}(?:[ ·][A-Z][A-Za-z'-]{1,20}){1,3}")
_SPACED = re.compile(f"([{_CJK}]) {{1,3}}([{_CJK}])(?![{_CJK}])")
_NEXT_NAME = re.compile(r"[ ]?[/、,&+和及][ ]?|[ ]{1,2}")
_OPENING = re.compile(
    rf"[\n。;!,][ ]*([{_CJK}·]{{2,6}})(?:[ ]?(?=,)|[ ]?[,、 ][ ]?(?:男|女)(?![儿婿友士孩方科]))"
)
_SEX_NEXT = re.compile(r"[ ]?[,、 ][ ]?(?:男|女)(?![儿婿友士孩方科])")
_IN_BRACKETS = re.compile(rf"\(([{_CJK}]{{2,4}})\)")
_PHONE = re.compile(r"1[3-9]\d[- ]?\d{4}")
_BEFORE_PHONE = re.compile(
    rf"([{_CJK}]{{2,4}})(?:\([^)\n]{{1,6}}\))?[ ,:]{{0,2}}(?:电话|手机|tel)?[ :]{{0,2}}$"
)
_SEX_OR_AGE = re.compile(r"[,、 (]{0,2}(?:男|女)(?![儿婿友士孩方])|[,、 (]{1,2}\d{1,3}[ ]?岁")
_FOLLOW = re.compile(
    r"性别|年龄|男|女|科|职称|职业|主任|副主任|主治|住院|医师|医生|护士|护师|教授|技师|药师|电话|联系|手机|日期|时间|签|陪|代|"
    r"因|于|自|诉|述|以|入|来|就|今|昨|本|近|曾|无|有|在|为|系|已|仍|目前|现|反复|间断|突|出现|主|缘|民族|婚|籍贯|住|出生|身份|病|"
    r"门诊|床|与|和|及|等|患|之|同志|先生|女士|到|至|从|被|将|送|的|告|表示|要求|同意|拒绝|知|理解|提供|补充|是|说|称|查|会诊|"
    r"行|予|嘱|既往|平素|再|前|后|复|办|做|由|经|未|不|感|发|每|坚持|服|拟|需|可|均|也|亦|家"
)
_SUBJECT_OF = re.compile(
    r"自诉|自述|诉[^求]|因|于|自[\d一二三四五六七八九十昨今半幼]|以[\"“”]|主因|缘于|入院|就诊|来诊|来院"
)
_ACCOMPANIES = re.compile(
    r"陪同|陪伴|陪护|陪诊|陪着|代诉|代述|代为|护送|送至|送来|送入|送其|口述|补充病史|补充诉|签字|签名|签署|搀扶|照顾|照料|携带|带来|抱来|[ ]?\(?(?:电话|手机|联系)"
)
_LEFT_OF_TITLE = frozenset(
    "请由经与和及科遵随向告在找到给求诊院部室组邀示访让跟同对询系报谢据按听嘱托约见遇区楼是的被因为从将把长日今晨晚后前当者外内"
)
_NOT_AFTER_FORM = re.compile(r"某?(?:[医日院年月地处种些个一单校公工厂省市县区镇村店家品药病天次时人者])")
_NEVER_ALONE = frozenset("经于从向由和与时常能都应须是有无")
_TASK_BEFORE_REN = frozenset("主责担现前信兼继连聘历就离首胜充放听委")


class _Cue(NamedTuple):
    type: str
    kind: str
    length: int


class _Veto:
    """The clinical words of one text: where they begin and which characters they cover."""

    __slots__ = ("_ends", "_machine", "_spans", "_text")

    def __init__(self, machine: ahocorasick.Automaton, text: str) -> None:
        self._machine = machine
        self._text = text
        self._spans: list[tuple[int, int]] | None = None
        self._ends: dict[int, int] = {}

    def refuses(self, start: int, end: int) -> bool:
        """Whether a word begins where the name would begin, or the name would cut a word in two."""
        if self._spans is None:  # most texts need no answer
            self._spans = [(last - length + 1, last + 1) for last, length in self._machine.iter(self._text)]
            self._ends = {first: last for first, last in sorted(self._spans)}
        if start in self._ends:
            return True
        return any(start < first < end < last or first < start < last for first, last in self._spans)

    def is_word(self, start: int, end: int) -> bool:
        """Whether the whole of it is a word, or the beginning of a longer one."""
        self.refuses(start, end)
        return self._ends.get(start, 0) >= end


@register
class Names:
    """See the module's docstring."""

    name = "names"
    kinds: tuple[str, ...] = ("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME")

    def __init__(self) -> None:
        entries: dict[str, object] = {}
        for kind_type, kind, listed in rows("name_cues.tsv"):
            for cue in listed.split("|"):
                if kind_type == "title" and cue in entries:
                    continue  # looked up again as a title below
                entries.setdefault(cue, _Cue(kind_type, kind, len(cue)))
        self._titles = frozenset(
            cue
            for kind_type, _, listed in rows("name_cues.tsv")
            if kind_type == "title"
            for cue in listed.split("|")
        )
        for title in self._titles:
            entries.setdefault(title, _Cue("title", "STAFF_NAME", len(title)))
        self._cues = automaton(entries)
        self._clear = characters("surnames.txt", "clear")
        self._ambiguous = characters("surnames.txt", "ambiguous")
        self._compound = frozenset(sections("surnames.txt")["compound"])
        self._given = characters("given_characters.txt")
        self._never = characters("never_in_names.txt") - self._given
        self._values = frozenset(sections("name_stops.txt")["values"])
        self._foreign = characters("transliteration.txt")
        vetoes: dict[str, object] = {}
        for word in (*sections("name_stops.txt")["words"], *words("protected.txt"), *findings()):
            if len(word) >= 2:
                vetoes[word] = len(word)
        self._vetoes = automaton(vetoes)

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of names; see `Recogniser`."""
        cues = self._cues_in(text)
        dotted = "·" in text
        veto = _Veto(self._vetoes, text)
        for start, cue in cues:
            end = start + cue.length
            if cue.type == "label":
                yield from self._after_label(text, end, cue.kind, veto)
            elif cue.type == "form":
                yield from self._before(text, start, end, cue.kind, veto, form=True)
            else:
                if text[start:end] in self._titles:
                    yield from self._before(text, start, end, "STAFF_NAME", veto, form=False)
                if cue.type == "role":
                    yield from self._after_role(text, end, cue.kind, veto)
        for match in _OPENING.finditer("\n" + text):
            yield from self._opening(text, match.start(1) - 1, match.end(1) - 1, veto)
        for match in _PHONE.finditer(text):
            before = _BEFORE_PHONE.search(text, max(0, match.start() - 20), match.start())
            if before:
                yield from self._beside_phone(before, veto)
        if "(" in text:
            for match in _IN_BRACKETS.finditer(text):
                yield from self._in_brackets(match, veto)
        if dotted:
            yield from self._dotted(text)

    def _cues_in(self, text: str) -> list[tuple[int, _Cue]]:
        """Cues from left to right; one that lies inside a longer one is left out."""
        found = [(last - cue.length + 1, cue) for last, cue in self._cues.iter(text)]
        if len(found) < 2:
            return found
        found.sort(key=lambda item: (item[0], -item[1].length))
        kept: list[tuple[int, _Cue]] = []
        reach = -1
        for start, cue in found:
            if start + cue.length > reach:
                kept.append((start, cue))
                reach = start + cue.length
        return kept

    # what a name looks like

    def _surname(self, text: str, start: int) -> int:
        """Length of the surname at `start`: 2 compound, 1 single, 0 none."""
        if text[start : start + 2] in self._compound:
            return 2
        char = text[start : start + 1]
        return 1 if char in self._clear or char in self._ambiguous else 0

    def _is_given(self, part: str) -> bool:
        return bool(part) and all(char in self._given for char in part)

    def _may_be_given(self, part: str) -> bool:
        """Whether no character speaks against a given name."""
        return bool(part) and all(_is_cjk(char) and char not in self._never for char in part)

    def _length(self, text: str, start: int, veto: _Veto) -> int:
        """Length of the surname and given name at `start`, 0 if there is none that can be told from ordinary words."""
        surname = self._surname(text, start)
        if not surname:
            return 0
        clear = surname == 2 or text[start] in self._clear
        for given in (2, 1):
            end = start + surname + given
            part = text[start + surname : end]
            if len(part) < given or veto.refuses(start, end):
                continue
            if self._bounded(text, end):
                if self._is_given(part) or (clear and self._may_be_given(part)):
                    return surname + given
            elif clear and given == 2 and self._is_given(part):
                return surname + given
        return 0

    @staticmethod
    def _bounded(text: str, end: int) -> bool:
        """Whether a name may end here: no Chinese character follows, or one that follows names."""
        return end >= len(text) or not _is_cjk(text[end]) or _FOLLOW.match(text, end) is not None

    # one method for each kind of evidence

    def _after_label(self, text: str, end: int, kind: str, veto: _Veto) -> Iterator[Span]:
        gap = _AFTER_LABEL.match(text, end)
        assert gap is not None
        start, colon = gap.end(), gap.group(1) is not None
        latin = _LATIN.match(text, start) if colon else None
        if latin:
            yield Span(latin.start(), latin.end(), kind, 0.95)
            return
        if colon:
            spaced = _SPACED.match(text, start)
            if spaced and self._surname(text, start):
                yield Span(start, spaced.end(), kind, 0.95)
                return
        length = self._labelled(text, start, veto, sure=colon)
        while length:
            yield Span(start, start + length, kind, 0.97 if colon else 0.92)
            if kind == "PATIENT_NAME":
                return
            following = _NEXT_NAME.match(text, start + length)
            if not following:
                return
            start = following.end()
            length = self._length(text, start, veto)
            if length and not self._bounded(text, start + length):
                return

    def _labelled(self, text: str, start: int, veto: _Veto, *, sure: bool) -> int:
        """Length of the name behind a label; with `sure` any characters will do."""
        run = _RUN.match(text, start)
        if not run:
            return 0
        value = run.group()
        if value in self._values:
            return 0
        if "·" in value.strip("·"):
            return len(value.rstrip("·")) if len(value) <= 18 else 0
        if sure:
            if 2 <= len(value) <= 4:
                for length in range(2, len(value)):
                    rest = value[length:]
                    if (
                        rest in self._titles or rest in ("性别", "年龄", "男", "女", "男性", "女性")
                    ) and self._surname(text, start):
                        return length
                return (
                    0 if any(value.startswith(word) for word in self._values if len(word) > 1) else len(value)
                )
            if any(value.startswith(word) for word in self._values if len(word) > 1):
                return 0
            surname = self._surname(text, start)
            for length in (3, 2, 4) if surname == 1 else (4, 3) if surname == 2 else ():
                if self._is_given(value[surname:length]) and _FOLLOW.match(text, start + length):
                    return length
            for length in range(max(2, surname + 1), 5):
                if _FOLLOW.match(text, start + length):
                    return length
            return min(surname + 2, len(value)) if surname else 0
        length = self._length(text, start, veto)
        if length:
            return length if self._bounded(text, start + length) else 0
        surname = self._surname(text, start)
        fits = surname and surname + 1 <= len(value) <= surname + 2 and self._may_be_given(value[surname:])
        return len(value) if fits and not veto.refuses(start, start + len(value)) else 0

    def _after_role(self, text: str, end: int, kind: str, veto: _Veto) -> Iterator[Span]:
        gap = _AFTER_ROLE.match(text, end)
        assert gap is not None
        start, mark = gap.end(), gap.group(1)
        run = _RUN.match(text, start)
        if not run:
            return
        value = run.group()
        if kind == "RELATIVE_NAME":
            # Someone who came along: any two or three characters, unless they are an ordinary word.
            for length in (2, 3, 4):
                if length <= len(value) and _ACCOMPANIES.match(text, start + length):
                    ordinary = text[start] not in self._clear and veto.refuses(start, start + length)
                    refused = ordinary or not self._may_be_given(value[self._surname(text, start) : length])
                    if not refused and (length < 4 or self._surname(text, start)):
                        yield Span(start, start + length, kind, 0.92)
                    return
        surname = self._surname(text, start)
        if not surname:
            return
        # A whole run that is a name's length: the boundary behind it stands in for characters of given names.
        sure = mark or text[start] in self._clear or surname == 2 or _SEX_OR_AGE.match(text, run.end())
        if sure and surname < len(value) <= surname + 2:
            given = mark and self._is_given(value[surname:])
            if not (veto.is_word(start, run.end()) if given else veto.refuses(start, run.end())):
                yield Span(start, run.end(), kind, 0.95)
                return
        length = self._length(text, start, veto) or self._before_verb(text, start, veto)
        if length:
            yield Span(start, start + length, kind, 0.85)

    def _before_verb(self, text: str, start: int, veto: _Veto) -> int:
        """Length of a common surname and any one or two characters before 因, 于, 自诉 …; else 0."""
        if text[start] not in self._clear:
            return 0
        for length in (2, 3):
            if _SUBJECT_OF.match(text, start + length) and _RUN.match(text[start : start + length]):
                part = text[start + 1 : start + length]
                return length if self._may_be_given(part) and not veto.refuses(start, start + length) else 0
        return 0

    def _before(
        self, text: str, start: int, end: int, kind: str, veto: _Veto, *, form: bool
    ) -> Iterator[Span]:
        """A surname, or a surname and given name, directly before a title or form of address."""
        if form and text[start] in "某" and _NOT_AFTER_FORM.match(text, end):
            return
        if form and text[start] in "xX*×○" and start and not _is_cjk(text[start - 1]):
            return
        for length in (4, 3, 2, 1):
            first = start - length
            if first < 0:
                continue
            surname = self._surname(text, first)
            if not surname or surname > length or length - surname > 2:
                continue
            boundary = first == 0 or not _is_cjk(text[first - 1]) or text[first - 1] in _LEFT_OF_TITLE
            clear = surname == 2 or text[first] in self._clear
            given = text[first + surname : start]
            if given and not (self._is_given(given) or (clear and boundary and self._may_be_given(given))):
                continue
            if not boundary and not clear:
                continue
            if (
                length == 1
                and not clear
                and not (first == 0 or not _is_cjk(text[first - 1]) or text[first - 1] in "请由与遵随")
            ):
                continue
            if length == 1 and text[first] in _NEVER_ALONE:
                continue
            if text[first] == "任" and first and text[first - 1] in _TASK_BEFORE_REN:
                continue
            if veto.refuses(first, start) or (length == 1 and self._cut(text, first, end, veto)):
                continue
            stop = end if form and text[start] in "某xX*×○" else start
            yield Span(first, stop, kind, 0.9)
            return

    @staticmethod
    def _cut(text: str, first: int, end: int, veto: _Veto) -> bool:
        """A single surname that is the end of a clinical word (术后于医生处 …)."""
        return veto.refuses(first, first + 1)

    def _opening(self, text: str, start: int, end: int, veto: _Veto) -> Iterator[Span]:
        """A clause that opens with nothing but a name and a comma; with the sex behind it less is asked of the name."""
        after_comma = start > 0 and text[start - 1] == ","
        for role in ("患者", "病人", "患儿"):
            if text.startswith(role, start) and end - start > 3:
                start += 2
        surname = self._surname(text, start)
        given = end - start - surname
        if not surname or not 1 <= given <= 2:
            return
        if _SEX_NEXT.match(text, end):
            if not after_comma and not veto.refuses(start, end):
                yield Span(start, end, "PATIENT_NAME", 0.93)
            return
        sure = surname == 2 or text[start] in self._clear or (given == 2 and not after_comma)
        if sure and self._length(text, start, veto) == end - start:
            yield Span(start, end, "PATIENT_NAME", 0.8)

    def _beside_phone(self, match: re.Match[str], veto: _Veto) -> Iterator[Span]:
        value, first = match.group(1), match.start(1)
        for length in (3, 2, 4):
            start = match.end(1) - length
            if length > len(value):
                continue
            surname = self._surname(match.string, start)
            if (
                surname
                and surname < length <= surname + 2
                and self._is_given(match.string[start + surname : match.end(1)])
                and not veto.refuses(start, match.end(1))
                and (start == first or self._bounded_left(match.string, start))
            ):
                yield Span(start, match.end(1), "RELATIVE_NAME", 0.8)
                return

    def _in_brackets(self, match: re.Match[str], veto: _Veto) -> Iterator[Span]:
        """A name alone in brackets: 138…(张建国), 会诊意见(李建华)."""
        text = match.string
        start, end = match.span(1)
        surname = self._surname(text, start)
        given = text[start + surname : end]
        if not surname or not 1 <= len(given) <= 2 or veto.refuses(start, end):
            return
        clear = surname == 2 or text[start] in self._clear
        behind_number = start >= 2 and (text[start - 2].isdigit() or text[start - 2] == "]")
        if clear:
            fits = self._is_given(given) or (behind_number and self._may_be_given(given))
        else:
            fits = self._is_given(given) and (behind_number or len(given) == 2)
        if fits:
            yield Span(start, end, "RELATIVE_NAME", 0.85)

    @staticmethod
    def _bounded_left(text: str, start: int) -> bool:
        return (
            start == 0
            or not _is_cjk(text[start - 1])
            or text[start - 1] in "属人子女妻夫父母弟妹兄姐者系友儿"
        )

    def _dotted(self, text: str) -> Iterator[Span]:
        for match in _RUN.finditer(text):
            value = match.group()
            if "·" not in value.strip("·") or len(value) > 30:
                continue
            at = value.index("·")
            left = at
            while left > 0 and value[left - 1] in self._foreign and at - left < 8:
                left -= 1
            right = at + 1
            while (
                right < len(value)
                and (value[right] in self._foreign or value[right] == "·")
                and right - at < 14
            ):
                right += 1
            if at - left >= 2 and right - at - 1 >= 2:
                yield Span(match.start() + left, match.start() + right, "PATIENT_NAME", 0.9)


def _is_cjk(char: str) -> bool:
    return "一" <= char <= "鿿" or "㐀" <= char <= "䶿"
