"""Addresses: what follows 住址, 家住, 户籍 …, and what has the shape of one (province … street, number, building).

A bare province or city stays, as one of a million people and more; from the county down it is removed.

>>> from emr_fl_shared.deidentify.recognisers.address import Address
>>> text = "家住河南省固始县陈淋子镇3组,现住院治疗,曾在北京务工,住址:建国路88号2单元301"
>>> sorted({text[s.start:s.end] for s in Address().find(text, {})})
['建国路88号2单元301', '河南省固始县陈淋子镇3组']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.wordlists import words

# Characters of place names: Chinese, but none of the words that stand in front of one.
_C = r"[^\W\dA-Za-z_在于到从至为是系住来自去回者因及与的了往由被现曾患其我本该这那有无]"
_UNIT = r"(?:[\dA-Za-z一二三四五六七八九十]{1,5}(?:-\d{1,4}){0,3}[ ]?(?:号楼|号院|号|栋|幢|座|弄|单元|室|房|楼|层|村民小组|小组|组|队|社|巷|期|区|户|支弄)|\d{1,3}#\d{2,5}(?!\d)|\d{1,3}#(?!\d)|-?\d{1,4}-\d{1,4}(?:-\d{1,4})?|(?<=[元楼栋幢座层])\d{2,5}(?!\d))"
_WAY = r"(?:大街|大道|街道|胡同|公路|路|街|巷|弄|里弄|支路|环路)"
_ESTATE = r"(?:小区|花园|花苑|家园|公寓|新村|新苑|雅苑|佳苑|嘉园|山庄|大厦|广场|社区|家属院|家属楼|宿舍|城|苑|园|庄|坊|里|湾|邨)"
_VILLAGE = r"(?:镇|乡|街道|苏木|民族乡|村|(?:屯|庄|寨)(?!村)|嘎查|社区|自然村|行政村|办事处|农场|林场)"
_CUE = re.compile(
    r"(?:家庭住址|家庭地址|现住址|现住地址|常住地址|联系地址|通讯地址|户籍地址|户口地址|户籍所在地|居住地址|身份证地址|工作地址|现居住地|居住地|常住地|暂住地|出生地|住址|地址|籍贯|户籍|户口|原籍|邮寄地址|寄送地址|收件地址|投递地址|单位地址|家庭住处|住处|住所)"
    r"[ ]*(?:\([^)\n]{0,6}\))?[ ]*(?:[:为是在于|(]|位于)[ ]*([^\s,。;!?()\[\]\n\t、|<>\"]{2,45})"
)
_LIVES = Guarded(
    r"(?:现住址|家庭住址|家庭地址|住址|户籍地址|家住在|家住于|家住|现住在|现住于|现住|居住在|居住于|现居住|现居于|现居|暂住于|暂住在|暂住|租住于|租住在|租住|住在|住于|来自于|来自|户籍在|老家在|老家|独居于|独居在|久居于|久居|长居|长期居住于|寄居于|寄住于|居于|搬至|搬到|迁至|迁居|户籍所在地|户口所在地|居住地址|邮寄地址|通讯地址|联系地址|户籍地|现居住地|居住地|送到家中|家在|(?<![入留暂居同寄陪])住(?![院在了过宿进址所处房户培]))[ ]*(?![:为是位])([^\s,。;!?()\[\]\n\t、|<>\"]{2,40})",
    r"[现家住户居暂租来老独久长寄搬迁邮通联送]",
)
_NATIVE = re.compile(
    r"(?:出生地|籍贯|原籍|祖籍|出生于|生于|老家|原籍地|参保地|户籍地?|户口|发病地|居住于|常住地?|现居地?)[ ]*[:为是|在]?[ ]*([^\s,。;!?()\[\]\n\t、|]{2,45})"
)
_NATIVES = re.compile(r"人(?<=[一-鿿]人)(?:[,。;、 ]|士|氏|$)")
_END = re.compile(
    r"(?:联系|电话|手机|身份证|邮编|邮政编码|患者|病人|主诉|因|邮箱|微信|病史|门诊|住院|就诊|来我|来诊|来院|入院|诉|无业|务农|务工|打工|独居|工作|职业|民族|婚|配偶|家属|[ ]?1[3-9]\d{9}|居民|附近|附属|的|一带|，)"
)
_NO_VALUE = re.compile(
    r"不详|未知|无|同上|保密|待补|院|院外|院内|址|宅|在一起|农村|乡下|城里|城市|市区|郊区|山区|本地|外地|外院|本市|本县|女儿|儿子|养老|潮湿|环境|条件|我|他|哪|当地|高原|海拔|楼房|平房|宿舍$|学校$"
)
_SHAPE = re.compile(r"[省市区县旗镇乡村路街巷弄号栋幢座室屯庄组队寨苑园楼盟州]")
_STREET = re.compile(rf"{_C}{{2,8}}{_WAY}(?:{_C}{{0,8}}{_UNIT})+")
_BUILDING = re.compile(rf"{_C}{{2,10}}{_ESTATE}(?:{_UNIT})+")
# Two streets that cross, with what stands there; a company of a farm corps.
_CROSSING = re.compile(
    rf"{_C}{{2,8}}{_WAY}[与和]{_C}{{2,8}}{_WAY}(?:交叉口|交汇处|路口|口)(?:[东西南北]{{0,2}}侧?)(?:{_C}{{2,8}}{_ESTATE})?(?:{_UNIT})*"
)
_CORPS = re.compile(
    r"(?:新疆)?(?:生产建设)?兵团第?[一二三四五六七八九十\d]{1,3}师(?:\d{1,3}团)?(?:\d{1,3}连)?|(?<![一-鿿])\d{1,3}团\d{1,3}连"
)
_COUNTY_OF = re.compile(
    r"(?:户籍|籍贯|参保地|原籍|祖籍|户口|来自|[\d日号月]自)[ ]?[:]?[ ]?([一-鿿]{2,14}?[县旗市区州])(?=[,。;、 )\n]|返|$)|(?<=[,是:])([一-鿿]{2,12}?[县旗市])(?=的?人[,。; ]|的人)"
)
_COUNTY = re.compile(
    rf"(?:{_C}{{1,6}}[县旗]|{_C}{{1,5}}[市区])(?:{_C}{{1,6}}?{_VILLAGE}){{1,4}}(?:{_C}{{0,6}}{_UNIT})*"
    rf"|{_C}{{1,5}}[镇乡](?:{_C}{{1,5}}?(?:村|[屯庄寨](?!村)))(?:{_C}{{0,4}}{_UNIT})*"
    rf"|{_C}{{1,5}}[村屯庄寨]{_UNIT}+"
)
_HAS_STREET = re.compile(rf"{_WAY}[^\W\d]{{0,6}}[\dA-Za-z一二三四五六七八九十]")
_HAS_BUILDING = re.compile(rf"{_ESTATE}[\dA-Za-z一二三四五六七八九十]")
# Each begins with one class of characters, so that the engine skips quickly to where a word may begin.
_HAS_VILLAGE = re.compile(
    r"[镇乡村屯庄寨街社办农林苏嘎](?:(?<=[镇乡村屯庄寨])|(?<=街)道|(?<=社)区|(?<=办)事处|(?<=[农林])场|(?<=苏)木|(?<=嘎)查)"
)
_HAS_CROSSING = re.compile(r"[与和](?<=[街道同路巷弄].)")
_HAS_CORPS = re.compile(r"团(?<=兵团)|团(?=\d)")
_HAS_COUNTY = re.compile(r"[县旗市区州](?=的?人|[,。;、 )\n返]|$)")
_HAS_CUE = re.compile(
    r"[址居住籍户出生老来家搬迁](?:(?<=[址居住籍搬迁])|(?<=户)口|(?<=出)生|(?<=生)于|(?<=老)家|(?<=来)自|(?<=家)[在中])"
)
_ANY = re.compile(
    r"[省市区县旗镇乡村路街巷弄栋幢室房屯庄寨址住籍居园苑城邨团#号生老保](?:(?<![号生老保])|(?<=\d号)|(?<=生)[地于]|(?<=老)家|(?<=保)地)"
)


@register
class Address:
    """See the module's docstring."""

    name = "address"
    sources: tuple[str, ...] = ("places.txt", "GB/T 2260 (provinces and prefectures)")
    kinds: tuple[str, ...] = ("ADDRESS",)

    def __init__(self) -> None:
        places = "|".join(re.escape(place) for place in words("places.txt"))
        self._places = re.compile(places)
        self._of_place = re.compile(
            rf"(?:{places})[省市]?(?:(?:{places})(?:市|地区|州|盟)?|{_C}{{1,4}}[市县区旗])(?=人(?:[,。;、 ]|士|氏|$))"
        )
        level = r"(?:壮族自治区|回族自治区|维吾尔自治区|特别行政区|自治区|自治州|地区|省|市|州|盟)?"
        part = rf"{_C}{{1,6}}?(?:自治县|新区|开发区|高新区|林区|县|区|市|旗)"
        self._long = re.compile(
            rf"(?:{places}){level}(?:(?:{places}){level})?(?:{part}(?!域|别|间|分|级|内|外|第|立|人民(?:医院|政府|法院)|中医|妇幼|医院|卫生))"
            rf"(?:{_C}{{1,7}}?{_VILLAGE}){{0,4}}(?:{_C}{{1,8}}?{_WAY})?(?:{_C}{{0,8}}{_UNIT})*"
        )

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of addresses; see `Recogniser`."""
        if not _ANY.search(text):
            return
        cued = _HAS_CUE.search(text) is not None
        for match in _CUE.finditer(text) if cued else ():
            end = self._end(text, match.start(1), match.end(1))
            if end - match.start(1) >= 2 and not _NO_VALUE.match(text, match.start(1)):
                yield Span(match.start(1), end, "ADDRESS", 0.94)
        for match in _LIVES.finditer(text) if cued else ():
            start = match.start(1)
            end = self._end(text, start, match.end(1))
            value = text[start:end]
            if len(value) < 3 or _NO_VALUE.match(value):
                continue
            place = self._places.match(value)
            rest = value[place.end() :].lstrip("省市") if place else value
            if _SHAPE.search(rest) and len(rest) >= 2:
                yield Span(start, end, "ADDRESS", 0.93)
        for match in _NATIVE.finditer(text) if cued else ():
            end = self._end(text, match.start(1), match.end(1))
            if self._places.match(text, match.start(1), end) and end - match.start(1) >= 4:
                yield Span(match.start(1), end, "ADDRESS", 0.92)
        if self._places.search(text):
            for match in self._of_place.finditer(text) if _NATIVES.search(text) else ():
                yield Span(match.start(), match.end(), "ADDRESS", 0.9)
            for match in self._long.finditer(text):
                yield Span(match.start(), match.end(), "ADDRESS", 0.91)
        for hint, pattern in ((_HAS_CROSSING, _CROSSING), (_HAS_CORPS, _CORPS)):
            for match in pattern.finditer(text) if hint.search(text) else ():
                yield Span(match.start(), match.end(), "ADDRESS", 0.9)
        for match in _COUNTY_OF.finditer(text) if _HAS_COUNTY.search(text) else ():
            yield Span(*match.span(match.lastindex or 0), "ADDRESS", 0.85)
        for hint, pattern in ((_HAS_STREET, _STREET), (_HAS_BUILDING, _BUILDING), (_HAS_VILLAGE, _COUNTY)):
            for match in pattern.finditer(text) if hint.search(text) else ():
                start = self._trim(text, match.start(), match.end())
                yield Span(start, match.end(), "ADDRESS", 0.9)

    @staticmethod
    def _end(text: str, start: int, end: int) -> int:
        stop = _END.search(text, start, end)
        return stop.start() if stop else end

    def _trim(self, text: str, start: int, end: int) -> int:
        """A place name inside the span is where it begins; words before it are not part of the address."""
        if text[start] in "县区市旗" and start >= 2 and text[start - 2 : start].isalpha():
            start -= 2  # 隆回县: a character that stands in no other place name
        place = self._places.search(text, start, end)
        within = place is not None and text[place.start() - 1] in "省市县区旗镇乡"
        return place.start() if place and not within and place.start() - start <= 4 else start
