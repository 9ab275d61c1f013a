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
from emr_fl_shared.deidentify.word_finder import WordFinder
from emr_fl_shared.deidentify.wordlists import rows

_DATE = r"(?:19|20)\d\d[-/.年]"
_GAP = " :\"'"
# A name in Latin letters: behind a word that stands before names, before a sex or an age, or in pinyin (ZHANG Wei, Li Xiaoming).
_LATIN = re.compile(
    r"([A-Z](?<![A-Za-z].)[A-Za-z'-]+(?: [A-Z][A-Za-z'-]+){1,2})(?![A-Za-z]|[ ]?(?:分|评|征|综合|病|试验|法|量表|指数|标准|手?术|[线瘤菌管囊细支瓣环结]))([ ]?[,(][ ]?(?:[MF]\b|male|female|男|女|护照|[Pp]assport|\d{1,3}[ ]?(?:岁|y)))?"
)
_SYLLABLE = r"(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?(?:iang|iong|uang|ang|eng|ing|ong|iao|ian|uai|uan|ai|ei|ao|ou|an|en|in|un|ia|ie|iu|ua|ue|ui|uo|a|e|i|o|u|v)"
_PINYIN = re.compile(
    r"(?!Yin Yang|He Ne)(?:zhang|wang|li|liu|chen|yang|zhao|huang|zhou|wu|xu|sun|hu|zhu|gao|lin|he|guo|ma|luo|liang|song|zheng|xie|han|tang|feng|yu|dong|xiao|cheng|cao|yuan|deng|fu|shen|zeng|peng|lu|su|jiang|cai|jia|ding|wei|xue|ye|yan|pan|du|dai|xia|zhong|tian|ren|fan|fang|shi|yao|liao|zou|xiong|jin|hao|kong|bai|cui|kang|mao|qiu|qin|gu|hou|shao|meng|wan|duan|qian|yin|chang|qiao|lai|gong|ouyang|sima)"
    rf" (?:{_SYLLABLE}[ '-]?){{1,2}}",
    re.IGNORECASE,
)
_SPACED = {count: re.compile(rf"[一-鿿](?: {{1,3}}[一-鿿]){{{count}}}") for count in (1, 2)}


@register
class FlankedNames:
    """See the module's docstring."""

    name = "flanked_names"
    sources: tuple[str, ...] = ("name_flanks.tsv", "surnames.txt", "given_characters.txt", "name_stops.txt")
    kinds: tuple[str, ...] = ("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME")

    def __init__(self) -> None:
        self._shape = name_shape()
        listed = {side: value.split("|") for side, value in rows("name_flanks.tsv")}
        before = dict.fromkeys(listed["left"], "RELATIVE_NAME")
        for side, kind, cues in rows("name_cues.tsv"):
            before.update(dict.fromkeys(cues.split("|") if side == "role" else (), kind))
        self._left = WordFinder(before)
        self._title = re.compile(
            "|".join(
                cue
                for kind, _, cues in rows("name_cues.tsv")
                if kind in ("title", "form")
                for cue in map(re.escape, cues.split("|"))
                if is_chinese(cue[0])
            )
        )
        self._right = WordFinder(dict.fromkeys(listed["right"], 2))
        kin = "|".join(
            sorted((word for word in listed["kin"] if len(word) > 1), key=lambda word: (-len(word), word))
        )
        one = "".join(word for word in listed["kin"] if len(word) == 1)
        # Marks and words behind a name; the name ends where they begin.
        self._behind = re.compile(
            rf"[ ]?\((?:{kin}|[{one}][),、]|系?患者(?:之|的)?(?:{kin}|[{one}])|本人|身份证|病[案历]号|住院号|门诊号|ID|\d{{1,4}}床|[男女][,、)])"
            rf"|[, ][ ]?(?:患者(?:之|的)?(?:{kin}|[{one}])|(?:男|女)[,、。 ]|性别|身份证|现?住(?!院)|家住|现年|年龄|[男女]性?\d|\d{{1,3}}岁|[+加]?[A-Z]?-?\d{{1,4}}床)"
            rf"|(?:之|的|系|为|(?:是|系|为)患者(?:的|之)?)(?:{kin})|(?:之|(?:是|系|为)患者[的之]?)[{one}](?![一-鿿])|[/-](?:{kin})(?![一-鿿])|[ ,]{{1,2}}{_DATE}|[ ,:|/]{{1,2}}\(?\+?\d{{6}}"
        )
        self._before = re.compile(
            rf"{_DATE}\d{{1,2}}[-/.月]\d{{1,2}}日?[ ,]{{1,2}}|\d[ ]?床(?:患者|病人)?[ ,:]{{0,2}}"
        )
        self._kin_alone = re.compile(rf"[{one}媳婿儿](?<![一-鿿].)[ ]?:?[ ]?(?=[一-鿿])")

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of names between such words; see `Recogniser`."""
        right = dict.fromkeys((start for start, _ in self._right.longest(text)), 2)
        right.update(dict.fromkeys((match.start() for match in self._behind.finditer(text)), 3))
        # A word of two characters and more is whole where it ends; a single one (经, 与) may be the beginning of another.
        left = {
            start + len(word): (2, len(word) > 1, self._left[word]) for start, word in self._left.all(text)
        }
        for match in self._before.finditer(text):
            left[match.end()] = (3, True, "PATIENT_NAME")
        for match in self._kin_alone.finditer(text):
            left.setdefault(match.end(), (2, False, "RELATIVE_NAME"))
        clinical = self._shape.words_of(text)
        for match in _LATIN.finditer(text):
            begin = match.start()
            while begin and text[begin - 1] in _GAP:
                begin -= 1
            announced = left.get(begin, (0, False))[1] and all(
                len(part) > 2 for part in match.group(1).split()
            )
            if announced or match.group(2) or _PINYIN.fullmatch(match.group(1)):
                yield Span(*match.span(1), "PATIENT_NAME", 0.85)
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
                    found = self._beginning_at(text, start, int(bounded), bounded, right, clinical)
                    if found == end:
                        yield Span(start, found, "PATIENT_NAME", 0.85)

    def _beginning_at(
        self, text: str, start: int, left: int, whole: bool, right: Mapping[int, int], clinical: ClinicalWords
    ) -> int:
        """Where the longest name at `start` that its sides bear out ends, or 0; `left` is the worth of what stands before it."""
        shape = self._shape
        surname = shape.surname(text, start)
        clear = shape.is_clear(text, start)
        if surname == 1 and text[start + 1 : start + 2] == " ":
            return self._spaced(text, start, left, right)
        for length in (surname + 2, surname + 1) if surname else ():
            end = start + length
            given = text[start + surname : end]
            if (
                end > len(text)
                or self._title.match(text, start + surname)  # 刘主任, 王先生
                or not shape.may_be_given(given)
                or (left == 0 and (len(given) < 2 or end not in right))
            ):
                continue
            behind = right.get(end, 0)
            if not behind:
                firm = end == len(text) or not is_chinese(text[end])
                soft = (clear or len(given) == 2 or left == 3) and (
                    shape.ends(text, end) or clinical.begins(end)
                )
                behind = int(firm or soft)
            needed = self._needed(text, start, end, surname)
            if not behind or not needed or left + behind < needed:
                continue
            # A name that is longer than the herb or place it begins with is a name, if enough speaks for it.
            longer = len(given) == 2 and shape.is_given(given) and left + behind >= (3 if clear else 5)
            word = (
                clinical.hold(start, end) if longer or (whole and left >= 2) else clinical.refuse(start, end)
            )
            if word or (clinical.cut(start) and not (whole and longer and behind > 1)):
                continue
            if whole and not longer and clinical.begins(start):
                continue
            if not clear and len(given) == 2 and clinical.begins(start + surname, end):
                continue
            return end
        return 0

    def _spaced(self, text: str, start: int, left: int, right: Mapping[int, int]) -> int:
        """As `_beginning_at`, of a name with blanks between its characters; the words on both sides must be there."""
        for count in (2, 1):
            match = _SPACED[count].match(text, start)
            value = match.group().replace(" ", "") if match else ""
            if not match or self._shape.words_of(value).refuse(0, len(value)):
                continue
            end = match.end()
            behind = right.get(end, 0) or int(
                not is_chinese(text[end : end + 1] or " ") or self._shape.ends(text, end)
            )
            needed = self._needed(value, 0, len(value), 1)
            if left >= 2 and behind and needed and left + behind >= needed:
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
