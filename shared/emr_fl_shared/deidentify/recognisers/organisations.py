"""Hospitals, wards and named departments, employers and schools.

An organisation is found by how it ends (`organisations.tsv`) and reaches back to the first word that can't be part of a
name. What is left must say which one it is: 当地医院, 我院, 三甲医院, 小学 stay; 阳谷县人民医院 and 实验小学 do not.
A specialty alone stays, since it says nothing about a person and much about the illness (请心内科会诊); a numbered ward
(心内科二病区, 骨三科), a department behind the name of a hospital and one in which the patient stays (收入妇科, 妇科12床) are removed.

>>> from emr_fl_shared.deidentify.recognisers.organisations import Organisations
>>> text = "3天前在北京协和医院心内科就诊,遂来我院,收入骨科二病区,就读于实验小学,父亲在宏达机械厂上班"
>>> [(text[s.start:s.end], s.kind) for s in sorted(set(Organisations().find(text, {})))]
[('北京协和医院', 'HOSPITAL'), ('心内科', 'DEPARTMENT'), ('骨科二病区', 'DEPARTMENT'), ('实验小学', 'SCHOOL'), ('宏达机械厂', 'EMPLOYER')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.name_shape import ClinicalWords, name_shape
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.word_finder import WordFinder
from emr_fl_shared.deidentify.wordlists import rows, words

_KINDS = {"hospital": "HOSPITAL", "school": "SCHOOL", "employer": "EMPLOYER"}
_LONGEST = 22
_NO_STOP = re.compile(
    "于都|回族|土家族|自来水|自治|自动化|自控|自贡|前进|前海|后勤|先锋|先进|时代|再生|有色|有机|无线|来宾|来凤|到家|到店|住建|住房|转运|转化|因特|因孚|被服|过滤|在线|从化|从江|去年|同仁|送变电|的士|家属院"
)
_BRANCH = re.compile(
    r"[^\W\da-zA-Z的了在上工]{1,8}?(?:分公司|分店|旗舰店|加盟店|门店|店|站点|营业部|营业厅|网点|项目部|分部|分局|分厂|车间|支行|分行|分理处)(?![一-鿿]{0,1}长)"
)
_NUMBER = r"(?:[一二三四五六七八九十]{1,3}|\d{1,3})"
_SHORT_HOSPITAL = Guarded(
    r"(?:[省市县区]|医大|医科大|中医大|附属|附|军大|大学)(?:第)?[一二三四五六七八九十](?:附)?院"
    r"|[省市区县](?:中医|妇幼|立|人民|肿瘤|儿童|胸科|中心)院|\d{3}医院",
    r"[省市县区医中附军大\d](?=.{1,6}院)",
)
_TOWN_HOSPITAL = re.compile(
    r"[^\W\da-zA-Z_于在自从由到至转送赴来前的日月号年时次曾与和及去经被出入住我本外贵该某术检位][^\W\da-zA-Z_于在自从由到至的日月号年次与和及出入住术检位]{1,2}(?:[一二三四五六七八九]院|妇保院)(?![区校子线长士内外])"
)
_TOWN_HOSPITAL_ENDS = re.compile(r"[一二三四五六七八九保]院")
_VISIT = r"(?=就诊|住院|诊治|诊断|复查|手术|门诊|看病|治疗|行|查|会诊|随访|转|确诊)"
_AFTER_HOSPITAL = re.compile(
    r"[ ]?(?:东院|西院|南院|北院|本部|分院|新院区|老院区|总院|[东西南北中]院区|.{1,4}院区)"
)
_WARD = Guarded(
    rf"(?:{_NUMBER}(?:病区|病房|疗区|区)|[ABCD]\d?(?:病区|区)|{_NUMBER}号?楼{_NUMBER}(?:层|楼|病区))",
    r"[一二三四五六七八九十\dA-D](?=[一二三四五六七八九十\d]{0,2}[病疗区号楼])",
)
_WARD_BEHIND = re.compile(r"住院|治疗|收|就诊|[,。;]|$|加?\d")
_ORDINAL = re.compile(
    r"(?:心|内|外|骨|儿|妇|产|神内|神外|消化|呼吸|肾内|普外|肿瘤|康复|中医|心内|泌尿|眼|老年)[一二三四五六七八九十]{1,2}科"
)
# A bed, a telephone or a member of a department behind its name; words of a stay before it. 请心内科会诊 tells of no stay.
_PERSON_OF = re.compile(
    r"[ ]?(?:(?:加|[A-Z]-?)?[+-]?\d{1,4}[ ]?(?:号病床|病床|号床|床)(?![边旁])|[ ]?,?[ ]?(?:电话|护士站|值班电话)[ ]?[:(]?[ ]?\d|[ ]?(?:病人|专家号?|护士站)|[ ]?[一-鿿·]{1,4}[ ]?(?:专家|主任|副主任|主治|医师|医生|教授|护士|大夫))"
)
_STAYS_IN = re.compile(
    r"(?:[我本该贵外]院|[收转]入|收住|(?<![好移流周运逆])转|预约|门诊[ ]?|收治于|转至|转到|转回|[由从][^,。;\n]{0,2}|住|入住|住在|住于|就诊于|联系|[申送]请科室[ ]?[:|]?[ ]?|[送申][检请]科室[ ]?[:|]?[ ]?|会诊科室[ ]?[:|]?[ ]?|科别[ ]?[:|]?[ ]?|科[ ]?室[ ]?[:|]?[ ]?|诊室[ ]?[:|]?[ ]?|(?:送检|申请|候诊|转入)科室?[ ]?|候诊[ ]|队列[ ]|抄送|挂号[^,。;\n]{0,3}|\d床[ ,]{1,2})$|(?:[到在看]|应|拟收|受邀方|反映)$(?<![现存所])"
)
_NO_STAY = re.compile(r"会诊|随诊|随访|复诊|就医|进一步|门诊|疾病|用药|手术史|情况|检查|专科")
_SPECIALTY = re.compile(
    r"(?:肿瘤|普外|骨|儿|妇|产|外|内|康复|神经|神内|神外|心血管|消化|呼吸|肾|血液|老年|感染|肝病|内分泌|泌尿|胸外|脊柱|关节|创伤|化疗|放疗|中医|针灸|疼痛|烧伤|眼|心内|心外|风湿|肝胆|胃肠|乳腺|甲乳|血管)$"
)
_FIELD = re.compile(r"(?:所在科室|就诊科室|科室名称|科室|病区|科别)[ ]*[:为][ ]*([^\s,。;()\[\]、]{2,14})")
_WORKS = re.compile(
    r"(?:工作单位|单位名称|工作单位及职务|雇主|用人单位)[ ]*[:为是][ ]*([^\s,。;()\[\]]{2,30})"
)
_AT_SCHOOL = re.compile(r"(?:就读学校|学校名称|学校|毕业院校)[ ]*[:为是][ ]*([^\s,。;()\[\]]{2,24})")
_STUDIES = re.compile(
    r"(?:就读于|毕业于|在读于|就读(?!于))[ ]*([^\s,。;()\[\]、]{2,20}?(?:大学|学院|中学|小学|幼儿园|一中|学校|高中|初中))"
)
_SERVES = re.compile(
    r"(?:就职于|任职于|供职于|就业于|工作于|受雇于|服务于)[ ]*([^\s,。;()\[\]、]{2,24}?(?:公司|集团|厂|局|银行|所|院|店|部|场|中心|矿|队|社|校|学|园|站))(?![一-鿿])"
)
_NOT_BEHIND = dict.fromkeys("中小", "(?!学(?!生)|[时年叶度量等心部段])") | {
    "大": "(?!附|学(?!生)|[夫量面棚声])"
}
_NOT_AFTER_ENDING = {"SCHOOL": frozenset("生附"), "EMPLOYER": frozenset("卡账存柜")}
_AFTER_SHORT_ENDING = frozenset(",。; 上工打做的职任退(、员里当")
_ANY_ONE = frozenset(("老家", "当地", "外地", "附近", "某", "某某", "我", "本", "该", "此"))
# A province or county has one of these, so that the level names it: 省肿瘤医院, 县中医院, 市供电局. 县医院 alone stays.
_ONLY_ONE = re.compile(
    r"[省市县区州盟旗](?!级|内|外)(?:[^\W\d]{2,6}(?:医院|保健院|中心|防治院|防治所)|中医院|供电局|公安局|税务局|教育局|财政局|法院|检察院|工商局|邮政局|自来水公司|燃气公司|公交公司|电力公司|烟草公司)$"
)
# A builder of railways, a unit of the army: the number tells which.
_NUMBERED = re.compile(
    r"中(?:铁|建|交|冶|电建|水电)(?:第)?[一二三四五六七八九十]{1,3}(?:局|公司)(?:[一二三四五六七八九十]公司)?|\d{5}部队"
)
_KIND_OF_HOSPITAL = frozenset(("人民", "中心", "住", "专科", "综合", "住院", "家", "同级", "级", "等"))
_NO_VALUE = re.compile(r"无|不详|无业|退休|务农|农民|自由|待业|保密|个体|同上|家务|未知|暂无|学龄")


@register
class Organisations:
    """See the module's docstring."""

    name = "organisations"
    sources: tuple[str, ...] = ("organisations.tsv", "departments.txt", "known_hospitals.txt", "places.txt")
    kinds: tuple[str, ...] = ("HOSPITAL", "DEPARTMENT", "EMPLOYER", "SCHOOL")

    def __init__(self) -> None:
        listed = {kind: tuple(value.split("|")) for kind, value in rows("organisations.tsv")}
        self._kind_of: dict[str, str] = {}
        for kind in ("hospital", "school", "employer"):
            for ending in listed[kind]:
                self._kind_of.setdefault(ending, _KINDS[kind])
        endings = sorted(self._kind_of, key=lambda ending: (-len(ending), ending))
        # 第三中学 ends in 中学, not in 三中; 一小时 in neither; 师大附中 not in 师大.
        self._ending = re.compile("|".join(e + _NOT_BEHIND.get(e[-1], "") for e in endings))
        self._generic = re.compile("|".join(sorted(listed["generic"], key=lambda word: (-len(word), word))))
        stops = sorted(listed["left_stop"], key=lambda word: (-len(word), word))
        self._stop = re.compile("|".join(map(re.escape, stops)))
        self._departments = re.compile("|".join(words("departments.txt")))
        self._named: WordFinder[None] = WordFinder(dict.fromkeys(words("departments.txt")))
        self._shape = name_shape()
        short = "|".join(words("known_hospitals.txt"))
        self._known_hospital = re.compile(rf"(?<=[于在到至赴往从由经])(?:{short}){_VISIT}")
        places = "|".join(words("places.txt"))
        self._place = re.compile(places)

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of organisations; see `Recogniser`."""
        hospitals: list[int] = []
        reach = dict.fromkeys(_KINDS.values(), 0)  # an organisation ends where the next of its kind may begin
        for match in self._ending.finditer(text):
            kind = self._kind_of[match.group()]
            start = self._begin(text, match.start(), match.end(), kind, reach[kind])
            if start is None:
                continue
            end = match.end()
            if kind == "HOSPITAL":
                branch = _AFTER_HOSPITAL.match(text, end)
                end = branch.end() if branch else end
                hospitals.append(end)
            elif kind == "EMPLOYER":
                branch = _BRANCH.match(text, end)
                end = branch.end() if branch else end
            yield Span(start, end, kind, 0.92)
            reach[kind] = match.end()
        if "院" in text:
            for match in _SHORT_HOSPITAL.finditer(text):
                yield Span(self._with_place(text, match.start()), match.end(), "HOSPITAL", 0.9)
                hospitals.append(match.end())
            for match in _TOWN_HOSPITAL.finditer(text) if _TOWN_HOSPITAL_ENDS.search(text) else ():
                yield Span(match.start(), match.end(), "HOSPITAL", 0.88)
                hospitals.append(match.end())
        if "中" in text or "部队" in text:
            for match in _NUMBERED.finditer(text):
                yield Span(*match.span(), "EMPLOYER", 0.9)
        for match in self._known_hospital.finditer(text):
            yield Span(match.start(), match.end(), "HOSPITAL", 0.9)
            hospitals.append(match.end())
        for end in hospitals:
            begin = end + (text[end : end + 1] == " ")
            department = self._departments.match(text, begin)
            if department:
                yield Span(begin, department.end(), "DEPARTMENT", 0.9)
        yield from self._wards(text)
        yield from self._stays(text)
        yield from self._fields(text)

    def _begin(self, text: str, start: int, end: int, kind: str, reach: int) -> int | None:
        """Where the organisation ending in `text[start:end]` begins; `None` if it is not a particular one."""
        after = text[end : end + 1]
        if after in _NOT_AFTER_ENDING.get(kind, ()):
            return None
        if end - start == 1 and after and after not in _AFTER_SHORT_ENDING:
            return None
        first = start
        while first > max(reach, start - _LONGEST) and (text[first - 1].isalnum() or text[first - 1] in "()"):
            first -= 1
        prefix = text[first:start]
        places = [match.span() for match in self._place.finditer(prefix)]
        inside = [match.span() for match in _NO_STOP.finditer(text, first, start + 4)]
        inside = [(left - first, right - first) for left, right in inside]
        begin = 0
        for stop in self._stop.finditer(prefix):
            if not any(left < stop.end() <= right for left, right in (*places, *inside)):
                begin = stop.end()
        # A name that holds a place begins with the place: nothing before it belongs to the name, unless the place is in brackets.
        begin = next((left for left, _ in places if left >= begin and prefix[left - 1 : left] != "("), begin)
        while begin < len(prefix) and prefix[begin] in "()":
            begin += 1
        name = prefix[begin:]
        own = self._without_generic(name)
        if own is None and _ONLY_ONE.match(name + text[start:end]):
            return first + begin
        if own is None or (own.isdigit() and kind != "HOSPITAL"):
            return None
        if kind == "HOSPITAL":
            # 县人民医院 still names a county's one hospital; 人民医院 alone names none.
            if own in _KIND_OF_HOSPITAL and (own != "人民" or name == own):
                return None
        elif (
            len(own) < (2 if end - start > 1 else 3)
            and not name.endswith("第" + own)
            and not (kind == "EMPLOYER" and _BRANCH.match(text, end))
        ):  # 第一中学 is one
            return None
        return first + begin

    def _without_generic(self, name: str) -> str | None:
        """The part of a name that could tell which organisation it is; `None` if there is none, or it is any (当地 …)."""
        rest = name
        while generic := self._generic.match(rest):
            rest = rest[generic.end() :]
            if generic.group() in _ANY_ONE and not self._place.match(rest):
                return None
        return rest.strip("第()的") or None

    def _with_place(self, text: str, start: int) -> int:
        for length in (4, 3, 2):
            if start >= length and self._place.fullmatch(text, start - length, start):
                return start - length
        return start

    def _wards(self, text: str) -> Iterator[Span]:
        if "区" in text or "病房" in text or "楼" in text:
            for match in _WARD.finditer(text):
                start = match.start()
                for department in self._departments.finditer(text, max(0, start - 10), start):
                    if department.end() == start:
                        start = department.start()
                specialty = _SPECIALTY.search(text, max(0, start - 5), start)
                start = specialty.start() if specialty and start == match.start() else start
                bare = match.group()[-1] == "区" and match.group()[-2] not in "病疗"
                if bare and start == match.start() and not _WARD_BEHIND.match(text, match.end()):
                    continue  # 三区 behind anything but a department is no ward
                yield Span(start, match.end(), "DEPARTMENT", 0.9)
        if "科" in text:
            for match in _ORDINAL.finditer(text):
                yield Span(match.start(), match.end(), "DEPARTMENT", 0.91)

    def _stays(self, text: str) -> Iterator[Span]:
        """A department where the patient is or was: a bed or a person of it behind, or words of a stay around it."""
        if "科" not in text and "病房" not in text:
            return
        reach = 0
        clinical = self._shape.words_of(text)
        for start, name in self._named.longest(text):
            if start < reach:
                continue
            reach = end = start + len(name)
            if _WARD.match(text, end):
                continue  # see `_wards`
            before, behind = text[max(0, start - 8) : start], text[end : end + 14]
            if (
                before[-1:] not in ("请", "经")
                and (_PERSON_OF.match(behind) or self._beside_name(text, start, end, clinical))
            ) or (_STAYS_IN.search(before) and not _NO_STAY.match(behind)):
                yield Span(start, end, "DEPARTMENT", 0.86)

    def _beside_name(self, text: str, start: int, end: int, clinical: ClinicalWords) -> bool:
        """Whether a name stands right behind the department, or right before it with the department in brackets."""
        shape = self._shape
        if shape.length(text, end, clinical):
            return True
        if text[start - 1 : start] == "(" and text[end : end + 1] == ")":
            return any(
                shape.length(text, first, clinical) == start - 1 - first
                for first in (start - 4, start - 3)
                if first >= 0
            )
        return False

    def _fields(self, text: str) -> Iterator[Span]:
        if ":" in text or "为" in text or "是" in text:
            for pattern, kind in ((_FIELD, "DEPARTMENT"), (_WORKS, "EMPLOYER"), (_AT_SCHOOL, "SCHOOL")):
                for match in pattern.finditer(text):
                    if not _NO_VALUE.match(text, match.start(1)):
                        yield Span(match.start(1), match.end(1), kind, 0.91)
        if "于" in text or "就读" in text:
            for pattern, kind in ((_STUDIES, "SCHOOL"), (_SERVES, "EMPLOYER")):
                for match in pattern.finditer(text):
                    value = match.group(1)
                    if not self._generic.fullmatch(value) and value not in (
                        "小学",
                        "中学",
                        "大学",
                        "高中",
                        "初中",
                        "幼儿园",
                    ):
                        yield Span(match.start(1), match.end(1), kind, 0.92)
