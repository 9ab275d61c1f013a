from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.text.confusions import term_pairs, unit_pairs
from emr_fl_shared.text.guard import Guard
from emr_fl_shared.text.lexicon import load_lexicon
from emr_fl_shared.text.normalise import normalise
from emr_fl_shared.text.standardise import _durations, _fields, _full_forms, _units, standardise

GUARD = Guard(remember=0)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("T38.5,咽痛,咳嗽", "体温38.5，咽痛，咳嗽"),  # the note that the paper's model misread
        ("Ｔ：３８．５℃", "体温38.5℃"),
        ("体温 38.5 度", "体温38.5℃"),
        ("体温38.5摄氏度", "体温38.5℃"),
        ("T38.5P90R20BP120/80mmHg", "体温38.5，脉搏90，呼吸20，血压120/80mmHg"),
        ("T:36.8 P 78次/分钟 R 18次/min", "体温36.8，脉搏78次/分，呼吸18次/分"),
        ("BP 130 / 80 毫米汞柱，SpO2：98 %", "血压130/80mmHg，血氧饱和度98%"),
        ("脉搏：80次/分", "脉搏80次/分"),
        ("WBC:12.3x109/l，Hb 120G/L", "白细胞12.3×10^9/L，血红蛋白120g/L"),
        ("RBC4.5×10¹²/L", "红细胞4.5×10^12/L"),
        ("CRP＞20mg/L，HBsAg阳性", "C反应蛋白>20mg/L，乙肝表面抗原阳性"),
        ("Hp(+)，CRP↑", "幽门螺杆菌(+)，C反应蛋白↑"),
        ("ECG示ST段压低", "心电图示ST段压低"),
        ("硝苯地平30 毫克，包块5公分×3厘米", "硝苯地平30mg，包块5cm×3cm"),
        ("咳嗽3d，停经6w，餐后2h", "咳嗽3天，停经6周，餐后2小时"),
    ],
)
def test_one_way_of_writing_values(typed: str, expected: str) -> None:
    assert standardise(normalise(typed)) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("主诉：发热3天。既往史：______。个人史：无特殊。", "主诉：发热3天。个人史：无特殊。"),
        ("现病史：咳嗽。查体：", "现病史：咳嗽。"),
        ("血压____/____mmHg，体温____℃，神清", "神清"),
        ("【主诉】发热3天【现病史】咳嗽", "主诉：发热3天。现病史：咳嗽"),
        ("过敏史：无 无 无。", "过敏史：无。"),
        ("咳嗽，，咳痰。。伴发热 ，无胸痛，。", "咳嗽，咳痰。伴发热，无胸痛。"),
        ("第1页 共2页\n咳嗽3天。打印时间：[DATE] 12:30", "咳嗽3天。"),
        ("咳嗽-----（以下空白）", "咳嗽"),
        ("<p>发热 3天</p><br/>体温<38℃", "发热 3天\n体温<38℃"),
        ("WBC 12.3×10<sup>9</sup>/L", "白细胞12.3×10^9/L"),
        ("<b<br>r>咳嗽", "咳嗽"),
    ],
)
def test_what_templates_leave_behind_goes(typed: str, expected: str) -> None:
    assert standardise(normalise(typed)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "T8压痛，T12骨折",
        "T 12.5",
        "P<0.05",
        "P2亢进，R波递增",
        "R20",
        "Ca2.3，CA125 35U/mL",
        "胃Ca术后",
        "PE？",
        "UA420",
        "65y",
        "T1w信号",
        "既往史：，高血压",
        "既往史：\n高血压5年",
        "既往史：无特殊",
        "无，但有咳嗽",
        "体温<38℃且>36℃",
        "3d打印",
        "HR1.5",
        "BP升高",
        "[PATIENT_NAME]于[DATE:2024-03]来院",
        "共3处压痛，第3页码",
    ],
)
def test_what_could_mean_something_else_stays(text: str) -> None:
    assert standardise(text) in (text, text.replace("3d打印", "3天打印"))


def test_a_sentence_in_which_the_guard_reads_another_fact_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from emr_fl_shared.text import standardise as module

    table = {**_full_forms(), "WBC": "无白细胞"}
    monkeypatch.setattr(module, "_full_forms", lambda: table)
    module._written_out.cache_clear()
    try:
        assert standardise("WBC12.3。CRP25。") == "WBC12.3。C反应蛋白25。"
    finally:
        module._written_out.cache_clear()


def test_abbreviations_are_the_lexicons_and_never_those_of_the_evaluation_noise() -> None:
    lexicon = load_lexicon()
    reserved = {form for term in lexicon.terms.values() for form in term.noise_forms}
    for short, full in _full_forms().items():
        assert lexicon.concept(short) == full
        assert short not in reserved
    noise = {
        form for side in (term_pairs("test"), unit_pairs("test")) for forms in side.values() for form in forms
    }
    assert not {*_units(), *_durations()} & noise


@pytest.mark.parametrize("value", ["36.5", "60", "120", "7.25", "(+)", "升高"])
def test_every_abbreviation_before_a_value_keeps_the_facts(value: str) -> None:
    changed = 0
    for short, separator in product(_full_forms(), ("", " ", "：")):
        before = f"查{short}{separator}{value}，无咳嗽。左侧胸痛。"
        after = standardise(before)
        assert GUARD.keeps(before, after)
        assert standardise(after) == after
        assert len(after) <= 3 * len(before)
        changed += after != before
    assert changed > 100


PIECES = [
    *(
        "T",
        "P",
        "R",
        "BP",
        "HR",
        "SpO2",
        "WBC",
        "CRP",
        "FT3",
        "体温",
        "血压",
        "既往史",
        "主诉",
        "打印时间",
        "第1页",
        "共2页",
        "ECG",
    ),
    *(
        "38.5",
        "90",
        "120/80",
        "3",
        "12.3",
        "109",
        "0",
        "℃",
        "度",
        "mmHg",
        "毫米汞柱",
        "次/分",
        "x10^9/L",
        "/L",
        "d",
        "h",
        "mg",
        "毫克",
    ),
    *(
        "：",
        "，",
        "。",
        "、",
        ":",
        ",",
        ".",
        " ",
        "\n",
        "____",
        "---",
        "/",
        "(+)",
        "↑",
        "<",
        ">",
        "≥",
        "-",
        "×",
        "^",
        "【",
        "】",
        "…",
    ),
    *(
        "无",
        "否认",
        "左",
        "发热",
        "咳嗽",
        "加重",
        "&lt;",
        "&amp;",
        "&nbsp;",
        "<br>",
        "</p>",
        "<sup>9</sup>",
        "amp;",
        "[DATE]",
        "C",
        "0C",
    ),
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join).map(normalise))
def test_twice_is_once_and_no_longer_than_three_times(text: str) -> None:
    once = standardise(text)
    assert standardise(once) == once
    assert len(once) <= 3 * len(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    once = standardise(text)
    assert standardise(once) == once


CLINICAL = [
    *(
        "T38.5",
        "P90次/分",
        "BP120/80mmHg",
        "WBC12.3×10^9/L",
        "CRP25mg/L",
        "无发热、咳嗽",
        "否认高血压、糖尿病史",
        "左侧胸痛3天",
        "加重1d",
    ),
    *(
        "既往高血压5年",
        "父亲患糖尿病",
        "口服硝苯地平30mg",
        "青霉素过敏",
        "C5-6椎间盘突出",
        "Ⅱ期",
        "≥7.0mmol/L",
        "反跳痛(-)",
        "[DATE:2024-03]起病",
    ),
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CLINICAL), st.sampled_from(["，", "。", "；", "\n", "，，"])), max_size=8
    )
)
def test_no_fact_changes_in_a_note(parts: list[tuple[str, str]]) -> None:
    before = normalise("".join(piece + mark for piece, mark in parts))
    assert GUARD.violations(before.replace("，，", "，"), standardise(before)) == []


def test_no_fact_changes_on_the_sample_federation(tmp_path: Path) -> None:
    from emr_fl_deploy.corpus import synthesise
    from emr_fl_shared.config import load_settings
    from emr_fl_shared.records import note_text
    from emr_fl_shared.sources import read_records

    synthesise(tmp_path / "data", records=300, seed=11)
    sites = load_settings(tmp_path / "data" / "federation.toml").with_paths_from(tmp_path / "data").sites
    changed = total = 0
    for site in sites.values():
        for record in read_records(site.records_source(), site.columns)[0]:
            before = normalise(note_text(record))
            after = standardise(before)
            # letter case of units is no fact
            assert GUARD.violations(before.lower(), after.lower()) == []
            changed, total = changed + (before != after), total + 1
    assert 0.1 < changed / total < 0.9


def test_headings_are_longest_first() -> None:
    names = _fields().split("|")
    assert names.index("药物过敏史") < names.index("过敏史")
