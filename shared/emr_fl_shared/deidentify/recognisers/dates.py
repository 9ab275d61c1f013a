"""Calendar dates. Durations (3天, 2年余), times of day (09:30), bare years and ages stay.

>>> from emr_fl_shared.deidentify.recognisers.dates import Dates
>>> text = "2024年3月5日09:30入院，3天前发热，2019年诊断，血压120/80，3月10日复查"
>>> [text[s.start:s.end] for s in Dates().find(text, {})]
['2024年3月5日', '3月10日']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span

_YEAR = r"(?:19[0-9]{2}|20[0-4][0-9])"
_MONTH = r"(?:1[0-2]|0?[1-9])"
_DAY = r"(?:[12][0-9]|3[01]|0?[1-9])(?!\d)"
_NUMERAL = "[〇零○一二三四五六七八九]"
_ENGLISH_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEPT?|OCT|NOV|DEC)[a-z]{0,6}\.?"
# Day and month with - or / may be a range or a share as well: what happened on the day must follow, or what leads to a day stand before.
_HAPPENED = (
    r"(?=[ ]?(?:上午|下午|中午|晚|早|凌晨|夜|来[院我诊过电]|去过|就诊|入院|出院|住院|在[^\d]|到[^\d]|返|复[查诊]|随访|手术|行[^\d]|查[房血体心肝B]|做[了过]|拆线|拔[管除]|转[入出院来至]"
    r"|请假|外出|门诊|急诊|开始|接触|因[^\d]|于[^\d]|起[病床]?[^\\d始]|发[热病现]|予[^\d]|改[用为]|停[药用]|电话|回访|签|应[约诊]|去|送[到至往]|接[诊种受]|检[查出验]|回[院家]|联系|确诊|诊断|死亡|再来|离院|自行|再次|曾|出现|予以|给予|由[^\d]|受凉|外伤|摔|突发|无诱因|[)](?:来|就|的|复|行)|报告))"
)
_PATTERN = re.compile(
    rf"(?:(?<![\d.])|(?<=[^\d.]\d\.))(?:"  # also behind the mark of a list: 4.2024年3月5日
    rf"{_YEAR}[ ]?年[ ]?{_MONTH}[ ]?月(?:份|[ ]?{_DAY}[ ]?[日号]?(?![天周个年月]))?"  # 2024年3月5日, 2024年3月
    rf"|{_YEAR}[ ]?([-/.])[ ]?{_MONTH}[ ]?\1[ ]?{_DAY}(?![\d.]\d|\d)日?"  # 2024-03-05, 2024.3.5
    rf"|{_YEAR}[-/]{_MONTH}(?![\d/-]|\.\d|\s?[A-Za-z%])(?!月)"  # 2024-03
    rf"|(?<=[于自从至到])(?:{_YEAR})\.{_MONTH}(?![\d.])"  # 于2023.5
    rf"|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?![\d.])(?![A-Za-z/×%]|[ ](?:[a-zμ/×%]|I?U(?![A-Za-z])))"
    rf"|\d{{2}}年{_MONTH}月{_DAY}[日号]"  # 24年3月5日
    rf"|{_YEAR}、{_MONTH}、{_DAY}"  # 2024、3、5
    rf"|\d{{2}}年(?:1[0-2]|0?[1-9])月(?![龄余前后内来的])"  # 24年3月
    rf"|(?:9\d|0\d|1\d|2[0-6])\.(?:1[0-2]|[1-9])\.{_DAY}(?![\d.]|[ ]?[A-Za-z%×~-])"  # 24.3.5
    rf"|(?:199\d|20[0-3]\d)\.(?:1[0-2]|0?[1-9])(?![\d.]|[ ]?[A-Za-z%×~μ/+-])"  # 2024.3
    rf"|{_MONTH}月{_DAY}(?=再来|拆线|复[查诊]|换药)"
    rf"|(?:{_MONTH})[ ]?月[ ]?{_DAY}[ ]?[日号](?!线)"  # 3月5日
    rf"|(?<=[于至到])(?:{_MONTH})月{_DAY}(?=[入出住行在因复查])"
    rf")"
    rf"|(?<![\d'.~/-])'?\d{{2}}([-/]){_MONTH}\2{_DAY}(?![-/.]\d|[ ]?(?:[UuIi%]|mg|ml|g|次|片|粒|单位|支|岁|天|周))"  # 24-3-5
    rf"|(?<![\dA-Za-z.~/腰胸颈骶第约近共每+-])(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?![\d.~/-]|[ ]?[A-Za-z%天周日月年岁次分个小片粒毫公支号床]){_HAPPENED}"  # 03-05复查
    rf"|(?<![\dA-Za-z.~/腰胸颈骶第约近共每+-])(?!1/[2-9]|2/[35]|3/[45])(?:1[0-2]|[1-9])/(?:[12][0-9]|3[01]|[1-9])(?![\d.~/-]){_HAPPENED}"  # 3/15复查
    rf"|(?<![\dA-Za-z.~/+-])(?:0[1-9]-(?:[12][0-9]|3[01]|0[1-9])|1[0-2]-0[1-9])(?![\d.~/:-]|[ ]?[A-Za-z%天周年岁次分个小片粒毫公支号床点时])"  # 03-05: no range is written so
    rf"|(?:(?<=患者)|(?<=患儿)|(?<=约)|(?<=[今昨明次当][日天晚晨]\()|(?<=[今昨明次当][日天晚晨])|(?<=预约))(?:1[0-2]|0?[1-9])[-/](?:[12][0-9]|3[01]|0?[1-9])(?![\d.~/-]|[ ]?[A-Za-z%天周日月年岁次分个小片粒毫公支])"
    rf"|(?<=[于自从])(?:1[0-2]|0?[1-9])[-/](?:[12][0-9]|3[01]|0?[1-9])(?![\d.~/-]|[ ]?[A-Za-z%天周日月年岁次分个小片粒毫公支])"  # 于3/15
    rf"|(?<=[于自从])(?:1[0-2]|0?[1-9])\.(?:[12][0-9]|3[01]|0?[1-9])(?![\d.~/-]){_HAPPENED}"  # 于3.15行
    rf"|(?<![\d/.-])(?:[12][0-9]|3[01]|0?[1-9])(?:st|nd|rd|th)?[ -]?{_ENGLISH_MONTH}[ ,-]{{0,2}}{_YEAR}(?!\d)"  # 5 Mar 2024
    rf"|(?<!\d)(?:1[0-2]|0?[1-9])/(?:[12][0-9]|3[01]|0?[1-9])/{_YEAR}(?!\d)|(?<!\d)(?:[12][0-9]|3[01]|0?[1-9])/(?:1[0-2]|0?[1-9])/{_YEAR}(?!\d)"  # 3/5/2024
)
_LUNAR_MONTH = "(?:十[一二]|[一二三四五六七八九十])月"
_IN_WORDS = re.compile(
    rf"{_NUMERAL}{{4}}年[一二三四五六七八九十]{{1,2}}月(?:[一二三四五六七八九十廿卅]{{1,3}}[日号])?"
    rf"|(?<![一二三四五六七八九十])(?:十[一二]|[一二三四五六七八九十])月[一二三四五六七八九十廿卅]{{1,3}}[日号]"
    rf"|(?:{_LUNAR_MONTH}|[正冬腊]月)(?:初[一二三四五六七八九十]|廿[一二三四五六七八九]?)"
    rf"|(?:[正冬腊]月|(?<=[农阴]历){_LUNAR_MONTH})(?:[二三]?十[一二三四五六七八九]?)"
    rf"|{_LUNAR_MONTH}(?:[二三]?十[一二三四五六七八九]?)(?=再来|拆线|复[查诊])"
)
_MONTH_FIRST = re.compile(
    rf"{_ENGLISH_MONTH}[ ]?(?:[12][0-9]|3[01]|0?[1-9])(?:st|nd|rd|th)?[ ]?,?[ ]?{_YEAR}(?!\d)"
)
_CUED = re.compile(
    rf"(?:LMP|lmp|末次月经|末经|PMP|预产期|EDC|出生日期|出生|生日|就诊日期|就诊时间|日期|入院日期|出院日期|手术日期|检查日期|报告日期|采样时间|签名时间)"
    rf"[ ]*(?:时间)?[ ]*[:为是于]?[ ]*((?:{_YEAR}|\d{{2}})?[-/.年]?{_MONTH}[-/.月]{_DAY}[日号]?)(?![\d.]|[ ]?[天周年岁])"
)
# A run of digits with behind it what a date has there: 年, 月, a separator and a digit, an English month; or eight digits in a row.
_DIGITS = re.compile(r"\d(?<!\d\d)(?=\d{7}|\d*[ ]?(?:[年月]|[-/.、][ ]?\d|(?:st|nd|rd|th)?[ -]?[JFMASOND]))")
_NUMERALS = re.compile(
    rf"[〇零○一二三四五六七八九十正冬腊](?:(?<![十正冬腊]){_NUMERAL}{{3}}年|(?<![〇零○])月)"
)
_CUE = re.compile(r"LMP|lmp|PMP|EDC|末经|末次|期|出生|生日|时间")


@register
class Dates:
    """See the module's docstring."""

    name = "dates"
    sources: tuple[str, ...] = ("GB/T 7408 and the notations of clinics",)
    kinds: tuple[str, ...] = ("DATE",)

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of dates; see `Recogniser`."""
        # Runs of digits are tried, and nothing between them: a note holds ten, and two hundred other places.
        reach = 0
        for digits in _DIGITS.finditer(text):
            start = digits.start()
            if start and text[start - 1] == "'":
                start -= 1
            if start < reach:
                continue
            match = _PATTERN.match(text, start)
            if match:
                reach = match.end()
                yield Span(match.start(), match.end(), "DATE", 0.93)
        if "月" in text:
            for numerals in _NUMERALS.finditer(text):
                start = numerals.start()
                while start > 0 and text[start - 1] in "十":
                    start -= 1
                match = _IN_WORDS.match(text, start)
                if match:
                    calendar = (
                        2 if text.startswith(("农历", "阴历", "旧历"), max(0, match.start() - 2)) else 0
                    )
                    yield Span(match.start() - calendar, match.end(), "DATE", 0.93)
        for match in _MONTH_FIRST.finditer(text):
            yield Span(match.start(), match.end(), "DATE", 0.93)
        if _CUE.search(text):
            for match in _CUED.finditer(text):
                yield Span(match.start(1), match.end(1), "DATE", 0.9)
