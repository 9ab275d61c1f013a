"""Label leakage: the diagnosis quoted in the text.

Most present illnesses of real records end with 门诊以“…”收入院, and many notes carry 初步诊断：… in a text field; a classifier
that reads them learns to copy. The clause is taken out. What a patient had before (既往诊断为高血压, 曾诊断…, 2年前确诊…) is history and stays.

>>> mask_leakage("腹痛2天。门诊以“急性阑尾炎”收入院。既往诊断为高血压。")
('腹痛2天。既往诊断为高血压。', 1)
"""

from __future__ import annotations

import re

_QUOTE = r"[“”\"'‘’「」『』《》〈〉（(【]"
_STOP = r"。；;\n!！?？"
_ADMITTED = re.compile(
    rf"[，,、 ]?(?:遂|现|今|故|于是)?(?:为(?:求|行)?进一步[^{_STOP}，,]{{0,12}}[，,])?(?:由|我院|本院)?(?:门诊|急诊|门急诊|我科|科室)?(?:拟|以|拟以|考虑|因)[ ]?{_QUOTE}[^{_STOP}]{{1,80}}?{_QUOTE}"
    rf"(?:待[查排])?[^{_STOP}，,]{{0,6}}(?:收住?|收治|入院|住院|就诊|留观|转入)[^{_STOP}，,]{{0,12}}[，,。；;]?"
    rf"|[，,、 ]?(?:门诊|急诊|门急诊)(?:拟|以|拟以)[^{_STOP}，,“”\"]{{2,30}}?(?:收住|收治|收入|入院|住院)[^{_STOP}，,]{{0,8}}[，,。；;]?"
)
_FIELD = re.compile(
    r"(?:初步诊断|门诊诊断|入院诊断|临床诊断|西医诊断|目前诊断|诊断意见|诊断印象|初诊|印象|初步印象|主要诊断|最后诊断|确定诊断|修正诊断|出院诊断|诊断结果|诊断)"
    rf"[ ]*[:：][ ]*[^{_STOP}]{{1,120}}(?:[；;](?![ ]*(?:予|给予|建议|治疗|处理|随诊|嘱|拟行|完善))[^{_STOP}]{{0,80}}){{0,8}}[。；;]?"
    rf"(?:[ \n]*\d[.、)）][^{_STOP}]{{1,60}}[。；;]?){{0,8}}"
)
_STATED = re.compile(
    rf"[，,、 ]?(?:目前|现|今|此次|本次|我院|本院|门诊|急诊|我科|初步|临床)?(?:明确|初步|拟|考虑|临床)?诊断(?:考虑)?(?:为|是)[ ]?{_QUOTE}?[^{_STOP}，,“”\"]{{2,40}}{_QUOTE}?[，,。；;]?"
    rf"|[，,、 ]?(?:初步|临床)?考虑(?:为|诊断)?[^{_STOP}，,“”\"]{{2,24}}?(?:可能性大|可能|待排除|待排|待查)[，,。；;]?"
    rf"|[，,、 ]?拟诊(?:断)?(?:为|[:：])?[ ]?{_QUOTE}?[^{_STOP}，,“”\"]{{2,40}}{_QUOTE}?[，,。；;]?"
)
_HISTORY = re.compile(
    r"(?:既往|曾|年前|月前|天前|日前|周前|外院|当地|去年|前年|过去|有[^，,。；;]{0,10}病史|[父母兄弟姐妹子女]|家族|年余前|多年|余年|年起|年在|年于|上级|他院|体检)[^。；;\n]{0,24}$"
)
# What each pattern must hold; looking for it is many times faster than the pattern.
_HAS_ADMITTED = re.compile(rf"{_QUOTE}|诊[拟以]")
_HAS_FIELD = re.compile("[:：]")
_HAS_STATED = re.compile("诊断|考虑|拟诊")
_WANTED = ("诊", "考虑", "收住", "收治", "收入", "印象", "入院")


def mask_leakage(text: str) -> tuple[str, int]:
    """The text without clauses that state the present diagnosis, and how many were taken out. Never raises; idempotent."""
    if not any(word in text for word in _WANTED):
        return text, 0
    total = 0
    for _ in range(4):
        count = 0
        for pattern, needed, may_be_history in (
            (_ADMITTED, _HAS_ADMITTED, False),
            (_FIELD, _HAS_FIELD, False),
            (_STATED, _HAS_STATED, True),
        ):
            if needed.search(text):
                text, changed = _take_out(text, pattern, may_be_history)
                count += changed
        total += count
        if not count:
            break
    return text, total


def _take_out(text: str, pattern: re.Pattern[str], may_be_history: bool) -> tuple[str, int]:
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if may_be_history and _HISTORY.search(text, max(0, match.start() - 40), match.start() + 2):
            return match.group()
        count += 1
        first, last = match.group()[0], match.group()[-1]
        if match.start() == 0 or text[match.start() - 1] in "。；;\n":
            return ""
        # The mark that closed the clause stays, so that the sentence before it still ends.
        return last if last in "。；;" else (first if first in "，," and match.end() < len(text) else "")

    return pattern.sub(replace, text), count
