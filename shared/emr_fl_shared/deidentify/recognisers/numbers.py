"""Numbers of records, visits, beds, examinations, insurance, bank cards, plates, permits and passports.

Nearly all are found by the words in front (`number_cues.tsv`); without words only shapes that measurements never have:
a plate, a passport, a bank card that passes Luhn's test, nine digits and more without a unit, a leading double zero.
Values, blood pressures, ranges, durations and laboratory time stamps stay.

>>> from emr_fl_shared.deidentify.recognisers.numbers import Numbers
>>> text = "住院号ZY0012345，12床，血压120/80mmHg，血小板125000，床边心电图"
>>> sorted({(text[s.start:s.end], s.kind) for s in Numbers().find(text, {})})
[('12床', 'BED_NUM'), ('ZY0012345', 'RECORD_NUM')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emr_fl_shared.deidentify.guarded import Guarded
from emr_fl_shared.deidentify.registry import register
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.deidentify.word_finder import WordFinder
from emr_fl_shared.deidentify.wordlists import rows

_VALUE = (
    r"([A-Za-z]{0,6}[- ]?(?=[\dA-Za-z*-]*\d)[\dA-Za-z*]{2,}(?:-[\dA-Za-z*]+){0,4}"
    r"(?:[ -]\d{3,}(?![\d年月天日周小岁次./:%-]))*[Xx]?)"
)
# Where letters begin that six digits follow.
_LETTERS = r"[A-Za-z](?<![A-Za-z0-9].)(?=[A-Z]{0,4}[- ]?\d{6})"
_HAS_LETTERS = re.compile(_LETTERS)
_SHORT_KINDS = frozenset(("VISIT_NUM", "RECORD_NUM", "EXAM_NUM"))
_BED = Guarded(
    r"(?:床号|床位号|床位)[ ]*[:为是]?[ ]*[(|]?[ ]*((?:加|[A-Z])?[ +-]?\d{1,4}(?:[ -]?\d{1,3})?[A-Za-z]?(?:号病床|号床|床|号)?)(?![\d./%])"
    r"|((?<![\d.\-~+])(?<!(?<![\d-])\d/)(?<!(?<![\d-])\d\d/)(?:[A-Z加]|ICU|EICU|CCU|NICU|抢|观|监)?[+-]?\d{1,4}[A-Za-z]?(?:[+-]\d{1,3})?[ ]?(?:号病床|病床|号床|床)(?![边旁位垫单头尾上下日次架板栏档挡帘沿的轻活患头])"
    r"|(?<![\d.\-~+])(?<!(?<![\d-])\d/)(?<!(?<![\d-])\d\d/)(?:[A-Z加]|ICU|EICU|CCU|NICU|抢|观|监)?[+-]?\d{1,4}[A-Za-z]?[ ]?(?:号病床|病床|号床|床)(?=患者|患儿|头[晕痛昏]|上[腹肢感呼午]))",
    r"[床A-Z加抢观监+\-\d](?<!\d\d)(?:(?<=床)|(?=[\dA-Za-z+\- 号病]{0,16}床))",
)
_BED_BEHIND = Guarded(
    r"(?:[,/ 科区月](?<!临)床|座位|机位|铺位|床位)[ ]?(?:号)?[ ]?[:]?[ ]?((?:加|[A-Z])?[+-]?\d{1,4}(?:-\d{1,3})?)(?![\d./%~×]|[ ]?(?:次|天|日|张|个|周|月|年|岁|分|小时))",
    r"[,/ 科区月座机铺床](?=[床位])",
)
_BED_SHARED = re.compile(r"(?:共|有|张|增|开放|设|余|占)$")
_PLATE = Guarded(
    r"(?<![A-Za-z0-9])[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][ ·.-]?"
    r"(?=[A-HJ-NP-Z0-9]{0,5}\d)(?:[A-HJ-NP-Z0-9]{6}|[A-HJ-NP-Z0-9]{5}|[A-HJ-NP-Z0-9]{4}[挂学警港澳试超])(?![A-Za-z0-9])",
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼](?=[A-HJ-NP-Z])",
)
_PASSPORT = Guarded(
    r"(?<![A-Za-z0-9])(?:E[A-HJ-NP-Z]\d{7}|[EGegKk]\d{8}|[DSPKN]E?\d{7,8})(?![A-Za-z0-9])",
    _LETTERS,
)
_PERMIT = Guarded(
    r"(?<![A-Za-z0-9])[HMChmc][A-Z]?[ ]?\d{8}(?:\d{2})?(?![A-Za-z0-9])",
    _LETTERS,
)
_BANK = Guarded(
    r"(?<![\d.])[3-6]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,3})?(?![\d.])",
    r"[3-6](?<![\d.].)(?=\d{3}[ -]?\d{4})",
)
_CARD_LONG = re.compile(r"\d(?:[ -]?\d){14}")
_LONG_RUN = re.compile(r"\d(?:[ -]?\d){5}")
_PLATE_START = re.compile(r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z]")
_LETTERED = Guarded(
    r"(?<![A-Za-z0-9])([A-Z]{2,5})[- ]?\d{7,16}(?![A-Za-z0-9.])",
    _LETTERS,
)
_EXAM_LETTERS = frozenset(
    ("CT", "MR", "MRI", "DR", "CR", "US", "XR", "BL", "PET", "ECG", "EEG", "BC", "NJ", "WJ", "RIS")
)
_BARE = Guarded(
    r"(?<![\dA-Za-z.+×*~-])(?:0{2}\d{5,}|0\d{7,}|\d{8,}|(?<=[/|])\d{6,}(?=[/|])|\d{6,}(?=这个号|的号))(?![\d.])(?!\s?(?:[A-Za-z×%‰μ万亿个拷]|/(?![\d+加]|[A-Z]-\d)|-\d))",
    r"\d(?<![\dA-Za-z.+×*~-].)(?=\d{5})",
)
# Any 编号 or 号码, and a number of five digits and more behind it; lots of drugs and codes of diagnoses are none of a person.
_ANY_NUMBER = Guarded(
    rf"(?:(?:号|号码|流水|序列)(?<!批号)(?<!型号)(?<!文号)(?<![格类病断术因点]编号)(?=[ ]?[:(|#A-Za-z\d])|(?:ID|Id|NO|No|№)(?=[ ]?[.:(|#\d]))"
    rf"[ ]*(?:[:#.是为]|No\.?)?[ ]*[(|\[]?[ ]*{_VALUE}",
    r"[号流序IN№]",
)
# An accession number: letters or none, year, hyphen, number (S23-10234, 2023-18273, MR-2023-00417); 2019-2023 are years.
_ACCESSION = Guarded(
    r"(?<![\dA-Za-z.+/×*~-])(?:[A-Z]{1,4}-?)?(?:(?:19|20)\d{2}-(?!(?:19|20)\d{2}(?!\d))\d{4,7}|(?:19|20)\d{6}-\d{2,5}|(?<=[A-Z])\d{2}-\d{4,6}|[0-4]\d-\d{5})(?![\d./~-]|[ ]?[A-Za-z%×])",
    r"[A-Z\d](?<![\dA-Za-z.+/×*~-].)(?=[A-Z]{0,3}-?\d{0,8}-\d)",
)
# A number in brackets or alone behind what was taken: CT(5283939), MR(CT-282128), 影像 6164100.
_TAKEN = re.compile(
    r"(?:CT|MRI?|DR|CR|PSG|ECT|片|镜|超声?|影像|造影)[ ]?[:(]?[ ]?((?:CT|MRI?|DR|US|XR)[ -]\d{4,10}|\d{6,10})(?![\d.A-Za-z%×])"
)
# A letter and six digits and more: no value of a measurement looks like it.
_LETTER_RUN = Guarded(
    r"(?<![A-Za-z0-9])[A-Z]-?\d{6,12}(?:-\d{1,3})?(?![A-Za-z0-9.])",
    _LETTERS,
)
# Identity cards of Hong Kong (with a letter) and Macao end in a bracketed check digit.
_HONG_KONG = Guarded(
    r"(?<![A-Za-z0-9])[A-Z]{1,2}\d{6}[ ]?\([\dA]\)",
    _LETTERS,
)
_MACAO = re.compile(r"(?:澳门|身份证|证件|证号|号码)[^\d\n,。;]{0,8}([157]/?\d{6}[ /]?\(\d\))")
_TIME_STAMP = re.compile(
    r"20[0-4]\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?$"
)


def luhn_fits(number: str) -> bool:
    """Luhn's test (ISO/IEC 7812-1, annex B) of a string of digits."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@register
class Numbers:
    """See the module's docstring."""

    name = "numbers"
    sources: tuple[str, ...] = ("number_cues.tsv", "ISO/IEC 7812-1 (Luhn)", "GA 36-2018 (plates)")
    kinds: tuple[str, ...] = (
        "RECORD_NUM",
        "VISIT_NUM",
        "BED_NUM",
        "EXAM_NUM",
        "INSURANCE_NUM",
        "BANK_CARD",
        "ID_CARD",
        "PLATE",
        "PASSPORT",
        "PERMIT",
    )
    _digits = re.compile(r"\d")

    def __init__(self) -> None:
        self._kind: dict[str, str] = {}
        for kind, listed in rows("number_cues.tsv"):
            for cue in listed.split("|"):
                self._kind[cue] = "RECORD_NUM" if kind == "STAFF_NUM" else kind
        self._cues = WordFinder(self._kind)
        self._value = re.compile(
            rf"(?:码|编号|号)?(?:\([^)\n]{{0,6}}\))?(?:[ ]?(?:No|NO|ID)\.?)?[ ]*[:#.是为]?[ ]*[(|\[\"“]?[ ]*{_VALUE}"
        )

    def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
        """Spans of numbers; see `Recogniser`."""
        if not self._digits.search(text):
            return
        for start, cue in self._cues.all(text):
            match = self._value.match(text, start + len(cue))
            if not match:
                continue
            kind = self._kind[cue]
            digits = sum(char.isdigit() for char in match.group(1))
            if kind == "VISIT_NUM" and 16 <= digits <= 19 and match.group(1)[0] in "3456":
                kind = "BANK_CARD"  # 卡号 alone may be either
            if digits >= (3 if kind in _SHORT_KINDS else 5) or (kind == "PLATE" and digits):
                # 银行卡号 ends in 卡号: the longer words decide the kind.
                yield Span(match.start(1), match.end(1), kind, 0.94 + len(cue) / 1000)
        for match in _ANY_NUMBER.finditer(text):
            if sum(char.isdigit() for char in match.group(1)) >= 5:
                yield Span(match.start(1), match.end(1), "RECORD_NUM", 0.86)
        if "(" in text:
            for match in _MACAO.finditer(text):
                yield Span(match.start(1), match.end(1), "PERMIT", 0.9)
        if "床" in text or "位" in text:
            yield from self._beds(text)
        if _PLATE_START.search(text):
            for match in _PLATE.finditer(text):
                yield Span(match.start(), match.end(), "PLATE", 0.93)
        if _LONG_RUN.search(text):
            yield from self._unannounced(text)

    @staticmethod
    def _unannounced(text: str) -> Iterator[Span]:
        """Shapes that need no words in front of them."""
        if _HAS_LETTERS.search(text):
            for pattern, kind in ((_PASSPORT, "PASSPORT"), (_PERMIT, "PERMIT"), (_HONG_KONG, "PERMIT")):
                for match in pattern.finditer(text):
                    yield Span(match.start(), match.end(), kind, 0.9)
            for match in _LETTERED.finditer(text):
                kind = "EXAM_NUM" if match.group(1) in _EXAM_LETTERS else "RECORD_NUM"
                yield Span(match.start(), match.end(), kind, 0.85)
            for match in _LETTER_RUN.finditer(text):
                yield Span(match.start(), match.end(), "RECORD_NUM", 0.8)
        for match in _BANK.finditer(text) if _CARD_LONG.search(text) else ():
            compact = re.sub(r"[ -]", "", match.group())
            if 15 <= len(compact) <= 19 and luhn_fits(compact):
                yield Span(match.start(), match.end(), "BANK_CARD", 0.92)
        for match in _ACCESSION.finditer(text) if "-" in text else ():
            yield Span(match.start(), match.end(), "EXAM_NUM", 0.94)
        for match in _TAKEN.finditer(text):
            yield Span(match.start(1), match.end(1), "EXAM_NUM", 0.88)
        for match in _BARE.finditer(text):
            if not _TIME_STAMP.match(match.group()):
                yield Span(match.start(), match.end(), "RECORD_NUM", 0.8)

    @staticmethod
    def _beds(text: str) -> Iterator[Span]:
        for match in _BED_BEHIND.finditer(text):
            yield Span(match.start(1), match.end(1), "BED_NUM", 0.9)
        for match in _BED.finditer(text):
            group = 1 if match.group(1) else 2
            start, end = match.span(group)
            if group == 2 and _BED_SHARED.search(text[max(0, start - 3) : start]):
                continue
            yield Span(start, end, "BED_NUM", 0.93)
