"""What takes the place of an identifier: a placeholder, or a broader value where one is wanted.

The default for every kind is its placeholder (`[PATIENT_NAME]`), which the model reads as one token. `quarter` and `band`
generalise instead (GB/T 37964-2019, 7.2): pass `Deidentifier(operators={"DATE": quarter, "AGE90": band})`.
No operator's result is found again by a recogniser, so that cleaning twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.messages import tr

Operator = Callable[[str, str], str]
"""(kind, the characters found) -> what is written in their place."""

_YEAR_MONTH = re.compile(r"((?:19|20)\d{2})\D?(1[0-2]|0?[1-9])?(?!\d\d\d)")
_COMPACT = re.compile(r"((?:19|20)\d{2})(0[1-9]|1[0-2])\d{2}")


def placeholder(kind: str, value: str) -> str:
    """`[KIND]`."""
    return f"[{kind}]"


def year_and_month(value: str) -> tuple[int, int] | None:
    """The year and month (1-12) of a date as people and exports write it; `None` if it has no year and month."""
    text = fold(value).replace(" ", "")
    match = _COMPACT.match(text) or _YEAR_MONTH.search(text)
    if not match or not match.group(2):
        return None
    return int(match.group(1)), int(match.group(2))


def year_and_quarter(value: str) -> tuple[str, int] | None:
    """The year and quarter (1-4) of a date; `None` if it has no year and month."""
    found = year_and_month(value)
    return (str(found[0]), (found[1] + 2) // 3) if found else None


def quarter(kind: str, value: str) -> str:
    """A date as its quarter (2024年3月5日 → 2024年第1季度); the placeholder if it has no year."""
    found = year_and_quarter(value)
    return f"{found[0]}年第{found[1]}季度" if found else placeholder(kind, value)


def band(kind: str, value: str) -> str:
    """An age of 90 and over as one band."""
    return "90岁以上"


def kind_name(kind: str) -> str:
    """A kind in the user's language, for reports."""
    names = {
        "PATIENT_NAME": tr("patient's name", "患者姓名"),
        "STAFF_NAME": tr("name of staff", "医务人员姓名"),
        "RELATIVE_NAME": tr("relative's name", "亲属姓名"),
        "HOSPITAL": tr("hospital", "医疗机构"),
        "DEPARTMENT": tr("ward or department", "科室病区"),
        "BED_NUM": tr("bed", "床号"),
        "VISIT_NUM": tr("visit number", "就诊号"),
        "RECORD_NUM": tr("record number", "病历号"),
        "EXAM_NUM": tr("examination number", "检查号"),
        "ID_CARD": tr("identity card", "身份证号"),
        "PERMIT": tr("travel permit", "通行证号"),
        "PASSPORT": tr("passport", "护照号"),
        "PHONE": tr("telephone", "电话号码"),
        "ADDRESS": tr("address", "住址"),
        "INSURANCE_NUM": tr("insurance number", "医保号"),
        "BANK_CARD": tr("bank card", "银行卡号"),
        "PLATE": tr("number plate", "车牌号"),
        "EMAIL": tr("e-mail", "电子邮箱"),
        "QQ": "QQ",
        "WECHAT": tr("WeChat", "微信号"),
        "EMPLOYER": tr("employer", "工作单位"),
        "SCHOOL": tr("school", "学校"),
        "DATE": tr("date", "日期"),
        "AGE90": tr("age of 90 and over", "90 岁及以上年龄"),
    }
    return names.get(kind, kind)
