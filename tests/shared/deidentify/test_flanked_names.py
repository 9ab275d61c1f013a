"""Rare and short names between words that stand beside names, and clinical text of the same build that stays."""

from __future__ import annotations

import pytest

from emr_fl_shared.deidentify import Deidentifier, Span
from emr_fl_shared.deidentify.spans import settle

CLEANER = Deidentifier(key=bytes(32))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        # relatives: before, behind, in brackets, with a verb
        ("儿媳何静：患者昨晚发热。", "何静"),
        ("由女儿叶敏代诉病史。", "叶敏"),
        ("叶敏（女儿）代诉。", "叶敏"),
        ("任平（系患者外甥）陪护", "任平"),
        ("石坚为患者之妻舅，何静系患者外甥。", "何静"),
        ("弟弟魏佳健在。", "魏佳"),
        ("已告知家属刘洋病危。", "刘洋"),
        ("大嫂亓森陪诊，妻 叶敏在外地", "亓森"),
        ("妻 叶敏，子 王阆", "叶敏"),
        ("何静/女儿 陪诊", "何静"),
        ("何静妈妈代诉：咳嗽3天。", "何静"),
        ("何静之子，出生3天", "何静"),
        ("小舅子白 毅送来", "白 毅"),
        # staff
        ("遵何静医嘱予补液。", "何静"),
        ("请骨科何静会诊", "何静"),
        ("交班给何静。", "何静"),
        ("会诊何静，复诊余平。", "余平"),
        ("刚才何美涛打电话来说血钾低", "何美涛"),
        ("现住12床，主管余医生。", "余"),
        # patients
        ("患者魏佳头痛3天。", "魏佳"),
        ("39床魏佳血钾6.8mmol/L", "魏佳"),
        ("患者白芷兰，住上海", "白芷兰"),
        ("患者于森秋，住上海", "于森秋"),
        ("兹证明何静（身份证未带）", "何静"),
        ("何静，65岁，头晕", "何静"),
        ("何静 2024-03-05", "何静"),
        ("肌电图：黄珍，规律透析", "黄珍"),
        # words as names, where enough speaks for one
        ("文静（女儿）代诉", "文静"),
        ("遵文静医嘱", "文静"),
        # rare surnames, as Hong Kong writes them
        ("患者郯晓莉复诊", "郯晓莉"),
        ("患者陳小明复诊", "陳小明"),
        # Latin letters
        ("患者 John Smith, M, 36y", "John Smith"),
        ("Li Xiaoming来诊", "Li Xiaoming"),
        ("Pt. ZHANG Wei复诊", "ZHANG Wei"),
    ],
)
def test_found(text: str, name: str) -> None:
    assert name not in CLEANER.text(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "患者按时复诊，遵医嘱服药。",
        "双镜手术顺利，明晨出院，带药2周。",
        "患者乘高铁来院，途中头晕。",
        "亲戚家中有类似病史。",
        "平安出院，元旦来诊，康复出院。",
        "与高血压相关，与左侧对比，与花粉接触后发作。",
        "被车撞伤后头痛，被牛顶伤腹部，被马蹄踢伤，被石块砸伤。",
        "按常规操作，按计划完成化疗，按单元护理。",
        "嘱安静休息，嘱时常活动，嘱全程戴口罩。",
        "系金属异物，系边缘溃疡，系成人发病。",
        "从高处坠落，从事建筑工作，从未手术。",
        "通知全家到场，通知安排住院。",
        "成人，男性，成人（男，34岁），初中（男）。",
        "患者毛发重3天，皮温高3天，关节镜手术3天。",
        "考虑经常可能，其子宫增大，其女性亲属有乳腺癌病史。",
        "患者于国庆后发病，患者于春节在家发病，患者于清晨入院。",
        "（全麻），（双侧），（平扫），复诊 2024年",
        "儿子健在，女儿均体健，父康健，母体健。",
        "患者Child Pugh分级B级，Hoehn Yahr分级2级，Le Fort骨折，He Ne激光照射，Hp Ab阳性。",
        "谢谢合作，感谢信任。",
        # dates, organisations and accounts
        "十月怀胎，三月二十余次，正月里发病，孕八月初诊，腊月加重。",
        "心内科大夫，农大棚内喷药后头痛，在当地药店购买，在网吧通宵，去菜市场。",
    ],
)
def test_left_alone(text: str) -> None:
    kept = CLEANER.text(text)[0]
    assert kept == text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("农历八月十五发病", "八月十五"),
        ("腊月廿六来诊", "腊月廿六"),
        ("正月初三复诊", "正月初三"),
        ("在鑫鑫网吧上班", "鑫鑫网吧"),
        ("华茂师大学生", "华茂师大"),
        ("用户wxid_abc1234咨询", "wxid_abc1234"),
        ("就读于云川师大附中", "云川师大附中"),
        ("骨髓号：20231234", "20231234"),
    ],
)
def test_other_kinds(text: str, hidden: str) -> None:
    assert hidden not in CLEANER.text(text)[0]


def test_a_shorter_name_of_the_roster_leaves_nothing_of_a_longer_one() -> None:
    spans = settle([Span(0, 2, "STAFF_NAME", 0.96), Span(0, 3, "RELATIVE_NAME", 0.9)])
    assert {index for span in spans for index in range(span.start, span.end)} == {0, 1, 2}
    spans = settle([Span(0, 2, "DATE", 0.96), Span(0, 3, "EXAM_NUM", 0.9)])
    assert [span[:2] for span in spans] == [(0, 2)]
