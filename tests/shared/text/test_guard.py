from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.text.guard import FACT_KINDS, NEGATED, Guard

GUARD = Guard()


def test_a_unit_does_not_stand_on_the_next_line() -> None:
    assert GUARD.keeps("38.5\nBP120/80", "38.5\n血压120/80")


def spans(text: str, kind: str) -> list[str]:
    return [text[start:end] for start, end, found in GUARD.protected(text) if found == kind]


@pytest.mark.parametrize(
    ("before", "after", "broken"),
    [
        ("无发热，咳嗽3天", "发热，咳嗽3天", "negation"),
        ("无发热、咳嗽、腹痛", "无发热、咳嗽，腹痛2天", "negation"),
        ("无发热、腹痛", "无发热", "negation"),
        ("发热，腹痛", "无发热，腹痛", "negation"),
        ("无发热、腹痛", "无发热、便秘", "negation"),
        ("未见皮疹", "未闻皮疹", "negation"),
        ("反跳痛阴性", "反跳痛", "negation"),
        ("反跳痛(-)", "反跳痛(+)", "sign"),
        ("肝脾肋下未触及", "肝脾肋下触及", "negation"),
        ("否认高血压、糖尿病史", "否认高血压、冠心病史", "negation"),
        ("右侧胸痛", "左侧胸痛", "side"),
        ("右侧胸痛", "下手胸痛", "side"),
        ("双下肢水肿", "下肢水肿", "side"),
        ("右上腹包块", "右下腹包块", "position"),
        ("咳嗽3天", "咳嗽5天", "number"),
        ("咳嗽3天", "咳嗽3周", "number"),
        ("咳嗽3天余", "咳嗽3天", "number"),
        ("咳嗽三天", "咳嗽两天", "number"),
        ("血糖≥7.0mmol/L", "血糖7.0mmol/L", "number"),
        ("血压120/80mmHg", "血压80/120mmHg", "number"),
        ("疼痛3-5天", "疼痛3、5天", "number"),
        ("体温38.5℃", "体温38℃", "number"),
        ("白细胞↑", "白细胞↓", "sign"),
        ("C5椎体", "C6椎体", "level"),
        ("心功能Ⅱ级", "心功能Ⅲ级", "stage"),
        ("2型糖尿病", "1型糖尿病", "diagnosis"),
        ("腹痛2型", "腹痛1型", "number"),
        ("右上腹痛", "右下腹痛", "finding"),
        ("轻度贫血", "重度贫血", "severity"),
        ("咳嗽逐渐加重", "咳嗽逐渐好转", "trend"),
        ("症状加重", "症状", "trend"),
        ("肺炎待查", "肺炎", "uncertainty"),
        ("可能为肺炎", "为肺炎", "uncertainty"),
        ("肺炎？", "肺炎", "uncertainty"),
        ("父亲患高血压", "患高血压", "experiencer"),
        ("既往头痛", "头痛", "time"),
        ("先呕吐，后腹痛", "后呕吐，先腹痛", "time"),
        ("男，35岁", "女，35岁", "demography"),
        ("妊娠12周", "12周", "demography"),
        ("患者肺炎", "患者胃炎", "diagnosis"),
        ("帕金森病史", "帕全森病史", "diagnosis"),
        ("Murphy征可疑", "Murphv征可疑", "eponym"),
        ("服布洛芬", "服布若芬", "drug"),
        ("青霉素过敏", "青霉素", "allergy"),
        ("[DATE]来院", "来院", "placeholder"),
        ("[DATE:2024-03]来院", "[DATE:2024-05]来院", "placeholder"),
        ("无明显诱因出现腹痛", "出现腹痛", "phrase"),
        ("不能行走", "能行走", "phrase"),
    ],
)
def test_a_broken_fact_is_seen(before: str, after: str, broken: str) -> None:
    assert broken in GUARD.violations(before, after)
    assert not GUARD.keeps(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("无发热、腹痛，咳嗽3天", "无腹痛、发热，咳嗽3天"),
        ("无发热、腹痛，咳嗽3天", "无发烧、腹痛，咳嗽3d"),
        ("否认高血压、糖尿病、冠心病史", "否认糖尿病、高血压、冠心病史"),
        ("体温38.5摄氏度", "T38.5℃"),
        ("血压120/80mmHg", "BP120/80毫米汞柱"),
        ("头痛伴恶心2天", "头疼伴恶新2天"),
        ("四肢乏力", "四支乏力"),
        ("突发腹痛", "突然出现腹痛"),
        ("发热，咳嗽", "发热,咳嗽"),
        ("", ""),
    ],
)
def test_harmless_changes_pass(before: str, after: str) -> None:
    assert GUARD.violations(before, after) == []


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("无发热、咳嗽，头痛3天", NEGATED, ["发热、咳嗽"]),
        ("无发热，咳嗽，腹痛。头痛", NEGATED, ["发热，咳嗽，腹痛"]),
        ("压痛、反跳痛阴性，腹软", NEGATED, ["压痛、反跳痛"]),
        ("无明显诱因出现腹痛", NEGATED, []),
        ("四肢无力", NEGATED, []),
        ("无痛性血尿", NEGATED, []),
        ("无痛经、皮疹", NEGATED, ["痛经、皮疹"]),
        ("无痛风史", NEGATED, ["痛风史"]),
        ("父亲患高血压，母亲体健", "experiencer", ["父亲", "父亲患高血压", "母亲", "母亲体健"]),
        ("自述青霉素过敏", "allergy", ["自述青霉素过敏", "过敏"]),
        ("体温38.5℃，3天余", "number", ["38.5℃", "3天余"]),
        ("维生素B12", "number", []),
        ("[AGE90]，[DATE]", "placeholder", ["[AGE90]", "[DATE]"]),
        ("[DATE:2024-03]和[DATE:2023-11-02]", "placeholder", ["[DATE:2024-03]", "[DATE:2023-11-02]"]),
    ],
)
def test_protected_spans(text: str, kind: str, expected: list[str]) -> None:
    assert spans(text, kind) == expected


def test_free_characters_are_those_in_no_span() -> None:
    text = "右侧胸痛3天，无发热，明显乏力"
    analysis = GUARD.analyse(text)
    covered = {index for start, end, _ in GUARD.protected(text) for index in range(start, end)}
    assert set(analysis.free) == set(range(len(text))) - covered
    assert "".join(text[index] for index in analysis.free).replace("，", "") == "胸痛乏力"


def test_lists_whose_order_is_free() -> None:
    text = "无发热、腹痛及便秘，否认高血压、冠心病、糖尿病史"
    lists = GUARD.analyse(text).lists
    assert [[text[slice(*item)] for item in found.items] for found in lists] == [
        ["发热", "腹痛", "便秘"],
        ["高血压", "冠心病"],
    ]


def test_units_after_numbers_only_and_never_in_dates() -> None:
    text = "7月16日起病，2023年手术，咳嗽3天，5年前，每天2次"
    assert [text[start:end] for start, end, *_ in GUARD.analyse(text).units] == ["天", "年"]


def test_analyses_are_remembered_within_the_limit() -> None:
    guard = Guard(remember=2)
    first = guard.analyse("发热")
    assert guard.analyse("发热") is first
    guard.analyse("咳嗽")
    guard.analyse("腹痛")
    assert guard.analyse("发热") is not first


def test_no_text_in_the_representation() -> None:
    assert "发热" not in repr(GUARD.analyse("患者发热"))


@given(
    st.text(
        alphabet=st.sampled_from("无发热咳嗽、，。；？右左3天.℃-/（）()↑Ⅱ期父亲过敏阴性BPT[]DATE \n及不"),
        max_size=40,
    )
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_and_equals_itself(text: str) -> None:
    analysis = GUARD.read(text)
    assert analysis.facts == GUARD.read(text).facts
    assert GUARD.violations(text, text + "") == []
    assert len(analysis.facts) == len(FACT_KINDS) - 1
    assert all(0 <= start < end <= len(text) for start, end, _ in analysis.protected)
    for found in analysis.lists:
        assert all(text[slice(*item)] for item in found.items)
