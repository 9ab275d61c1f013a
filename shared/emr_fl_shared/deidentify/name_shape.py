"""What a Chinese name looks like: a surname, characters of given names, a boundary, and no clinical word in its place.

Lists: `surnames.txt` (common and ambiguous ones), `given_characters.txt`, `never_in_names.txt`, `name_stops.txt`, `protected.txt`,
`places.txt`, and the terms of the clinical lexicon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from emr_fl_shared.deidentify.word_finder import WordFinder
from emr_fl_shared.deidentify.wordlists import characters, findings, sections, words

CHINESE = "一-鿿㐀-䶿"
"""The Chinese characters as a class of a regular expression, without its brackets."""

_BEFORE_NAMES = frozenset(
    "爸妈经给致示告工公婆东弟妹让叫诉床号名@是系知访托陪由找请问据向与跟和及时者人子女妻夫父母弟妹兄姐儿孙友属伴员生师"
)
"""Characters that often stand right before a name."""

# Words that follow a name and do not belong to it.
_FOLLOW = re.compile(
    r"性别|年龄|男|女|科|职称|职业|主任|副主任|主治|住院|医师|医生|护士|护师|教授|技师|药师|电话|联系|手机|日期|时间|签|陪|代|"
    r"因|于|自|诉|述|以|入|来|就|今|昨|本|近|曾|无|有|在|为|系|已|仍|目前|现|反复|间断|突|出现|主|缘|民族|婚|籍贯|住|出生|身份|病情|病史|病人|"
    r"门诊|床|与|和|及|等|患|之|同志|先生|女士|小朋友|奶奶|爷爷|阿姨|大爷|大妈|接送|到|至|从|被|将|送|的|告|表示|要求|同意|拒绝|知|理解|提供|补充|是|说|称|查|会诊|"
    r"谈话|讲解|同住|保管|换药|血压|照看|目击|孕|体检|驾车|开车|上班|下班|怀|报警|带大|值班|接诊|返|记录|讲|一起|顺产|剖|术|做了|确诊|患|心率|体温|血糖|病逝|今年|独自|居住|工作|就读|打工|生于|赶到|到场|巡视|交班|接班|抢救|复诊|接听|来电|打电话|去看|去[了过办]|看[过了看]|写的|协查|配合|均|看看|带[其他她孩患至到来]|护送|代[领取办]|取药|帮|负责|处理|跟台|上台|主刀|给[药予了的]|收[治入到]|坠床|昨[日晚天夜]|已|术[后前中]|这个|这位|那个|叫|来过|走失|签[署过字收]|留[下了电]|两[人次]|还|身[份体]|年[龄约]|[0-9]|介绍|转[告来]|打[了来电]|手机|邮|微信|回[电复访报]|约[好了]|催|交代|吩咐|建议|开[的具了药]|看诊|门诊|审[核批]|报告|陪|随行|同[行意]|在[外旁家场]|[也又]|前来|之[一前]|驾驶|乘|骑|操作|工龄|死亡|存活|病逝|去世|回忆|在旁|搀|口述|反映|描述|行|予|嘱|既往|平素|再|前|后|复|办|做|由|经|未|不|感|发|每|坚持|服|拟|需|可|均|也|亦|家|对[病治手诊]|否认|坠|发来|妇科|接送"
)


# What is named after a person, up to two characters of that name before it.
_NAMED_AFTER = re.compile(
    r"[一-鿿]{0,2}?(?:氏|病(?![情史人历房区案例假程重危逝休倒退友患])|综合[征症]|征(?![得求])|三联征|反射|纤维|结节|试验|手法|细胞|小体|现象|指数|评分|量表"
    r"|分[型级期度]|骨折|孔|窝|腺|管|瓣|韧带|间隙|三角|切口|术式|囊肿|瘤|呼吸音?|菌|杆菌|球菌|病毒|染色|激素|颗粒|片|胶囊|口服液|注射液|丸|散|汤|膏|贴|酸|酮|酯|胺|素|碱|苷|点(?![头名滴击])|蛇|畸形|定律|反应|过敏|电位|遗传|灯|托槽|技术|修补|滴[剂眼]|汤|方(?!案)|综)"
)


# Surnames that are words as well, among the two hundred commonest: behind 其母, 家属, 护工 … two characters of given names are enough.
_COMMON = frozenset(
    "丁万方石任白夏高黄金江龙史段汤易武文毛康严温牛时向关安施洪马常华成尚兰单左于叶余何曾颜舒包宁乔周孔盛黎游童辛齐申梅祝牟路应甄邢"
)


def is_chinese(char: str) -> bool:
    """Whether the character is a Chinese one."""
    return "一" <= char <= "鿿" or "㐀" <= char <= "䶿"


class ClinicalWords:
    """The clinical and everyday words of one text, looked up around the place that is asked for."""

    __slots__ = ("_finder", "_text")

    def __init__(self, finder: WordFinder[None], text: str) -> None:
        self._finder = finder
        self._text = text

    def refuse(self, start: int, end: int) -> bool:
        """Whether a word begins where the name would begin, or the name would cut a word in two."""
        finder, text = self._finder, self._text
        return (
            finder.length_at(text, start) > 0
            or finder.covers(text, end, start + 1, end)
            or finder.covers(text, start, start - finder.longest_word + 1, start)
        )

    def begins(self, start: int, end: int | None = None) -> bool:
        """Whether a word begins at `start`; one that reaches to `end`, if that is given."""
        return self._finder.length_at(self._text, start) >= (end - start if end else 1)

    def cut(self, start: int) -> bool:
        """Whether `start` lies inside a word."""
        return self._finder.covers(self._text, start, start - self._finder.longest_word + 1, start)

    def hold(self, start: int, end: int) -> bool:
        """Whether the whole of it is a word or the beginning of one, or its end is cut out of one.

        Asked instead of `refuse` where the name is one by its looks: 林可欣 begins like 林可霉素 and is none.
        """
        finder, text = self._finder, self._text
        return finder.length_at(text, start) >= end - start or finder.covers(text, end, start + 1, end)


class NameShape:
    """Judges stretches of folded text. One instance serves all texts."""

    def __init__(self) -> None:
        self.clear = characters("surnames.txt", "clear")
        self.ambiguous = characters("surnames.txt", "ambiguous")
        self.compound = frozenset(sections("surnames.txt")["compound"])
        self.given = characters("given_characters.txt")
        self._never = characters("never_in_names.txt") - self.given
        stops = sections("name_stops.txt")["words"]
        listed = (*stops, *words("protected.txt"), *words("places.txt"), *findings())
        entries = dict.fromkeys(word for word in listed if len(word) >= 2)
        # 于春节, 与健康: prepositions that are surnames, before words that are given names.
        for word in sections("name_stops.txt")["given"]:
            entries.update(dict.fromkeys(preposition + word for preposition in "于与和从向"))
        self._words: WordFinder[None] = WordFinder(entries)
        self._usual = frozenset((*words("name_words.txt"), *words("word_names.txt"))) - {
            "关系",
            "日期",
            "时间",
        }
        self.foreign = characters("transliteration.txt")
        self._parts: WordFinder[None] = WordFinder(dict.fromkeys(words("name_parts.txt")))
        self._part_begins = frozenset(part[0] for part in words("name_parts.txt"))

    def words_of(self, text: str) -> ClinicalWords:
        """The words of `text` that are not names."""
        return ClinicalWords(self._words, text)

    def surname(self, text: str, start: int) -> int:
        """Length of the surname at `start`: 2 compound, 1 single, 0 none."""
        if text[start : start + 2] in self.compound:
            return 2
        char = text[start : start + 1]
        return 1 if char in self.clear or char in self.ambiguous else 0

    def is_clear(self, text: str, start: int) -> bool:
        """Whether a common surname, hardly ever the beginning of another word, stands at `start`."""
        return text[start : start + 1] in self.clear or text[start : start + 2] in self.compound

    def is_given(self, part: str) -> bool:
        """Whether all characters are typical of given names."""
        return bool(part) and all(char in self.given for char in part)

    def may_be_given(self, part: str) -> bool:
        """Whether no character speaks against a given name."""
        return bool(part) and all(is_chinese(char) and char not in self._never for char in part)

    def fits_common(self, text: str, start: int, clinical: ClinicalWords) -> int:
        """Length of a common surname and two characters of given names at `start`, whatever follows; else 0."""
        surname = 1 if text[start : start + 1] in _COMMON else 0
        end = start + surname + 2
        fits = surname and len(text[start:end]) == 3 and self.is_given(text[start + 1 : end])
        return 3 if fits and not clinical.refuse(start, end) else 0

    def is_common(self, text: str, start: int) -> bool:
        """Whether one of the commonest surnames that are words as well stands at `start`."""
        return text[start : start + 1] in _COMMON

    def is_usual(self, value: str) -> bool:
        """Whether the value is an ordinary word that people bear as a name as well (高兴, 江山)."""
        return value in self._usual

    def without_surname(self, text: str, start: int) -> int:
        """Length of a Tibetan or Mongolian name at `start`; 0 if there is none, or more of a word follows."""
        if text[start : start + 1] not in self._part_begins:
            return 0
        found = [end for first, end in self.names_without_surname(text[start : start + 8]) if first == 0]
        return max(found, default=0)

    def names_without_surname(self, text: str) -> Iterator[tuple[int, int]]:
        """Tibetan and Mongolian names: two parts in a row wherever they stand, one of three characters and more before what
        follows names."""
        ends: dict[int, int] = {}
        for start, part in self._parts.longest(text):
            ends[start] = start + len(part)
        for start, end in ends.items():
            if end in ends and ends[end] - start >= 4:
                yield start, ends[end]
            elif end - start >= 3 and self.ends(text, end):
                yield start, end

    @staticmethod
    def ends(text: str, end: int) -> bool:
        """Whether a name may end here: no Chinese character follows, or a word that follows names."""
        return end >= len(text) or not is_chinese(text[end]) or _FOLLOW.match(text, end) is not None

    @staticmethod
    def is_announced(text: str, start: int) -> bool:
        """Whether a character that often stands right before a name stands before `start`."""
        return text[start - 1 : start] in _BEFORE_NAMES

    @classmethod
    def begins(cls, text: str, start: int) -> bool:
        """Whether a name may begin here: no Chinese character stands before it, or one that stands before names."""
        return start == 0 or not is_chinese(text[start - 1]) or cls.is_announced(text, start)

    @staticmethod
    def is_named_after(text: str, end: int) -> bool:
        """Whether something that bears a name, or a drug, and not a person, follows what ends here."""
        return _NAMED_AFTER.match(text, end) is not None

    @staticmethod
    def follows(text: str, end: int) -> bool:
        """Whether a word that follows names begins here."""
        return _FOLLOW.match(text, end) is not None

    def length(self, text: str, start: int, clinical: ClinicalWords) -> int:
        """Length of the surname and given name at `start`; 0 if there is none that can be told from ordinary words."""
        surname = self.surname(text, start)
        if not surname:
            return 0
        clear = self.is_clear(text, start)
        for given in (2, 1):
            end = start + surname + given
            part = text[start + surname : end]
            if len(part) < given:
                continue
            typical = self.is_given(part)
            looks_it = clear and given == 2 and typical
            # a compound surname may be a place as well: 濮阳
            compound = surname == 2 and given == 2 and self.may_be_given(part)
            if (clinical.hold if looks_it or compound else clinical.refuse)(start, end):
                continue
            if looks_it or (self.ends(text, end) and (typical or (clear and self.may_be_given(part)))):
                return surname + given
        return 0

    def is_whole(self, text: str, *, loose: bool = False) -> bool:
        """Whether `text`, a whole cell, is a name and nothing else; `loose`: any surname and one typical character, where a
        cell should not hold words at all."""
        surname = self.surname(text, 0)
        if not surname:
            return False
        clinical = self.words_of(text)
        if not loose:
            return self.length(text, 0, clinical) == len(text)
        given = text[surname:]
        some = any if self.is_clear(text, 0) else all
        fits = surname == 2 or some(char in self.given for char in given)
        return 1 <= len(given) <= 2 and fits and self.may_be_given(given) and not clinical.hold(0, len(text))


@cache
def name_shape() -> NameShape:
    """The one instance, loaded when first needed."""
    return NameShape()
