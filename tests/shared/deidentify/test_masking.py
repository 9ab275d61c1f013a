"""Diagnoses quoted in the text are taken out; what the patient had before stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emr_fl_shared.deidentify.masking import mask_leakage


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("腹痛2天，门诊以“急性阑尾炎”收入院。", "腹痛2天。"),
        ("胸闷1月。门诊拟“冠心病”收住我科。神志清。", "胸闷1月。神志清。"),
        ('咳嗽3天，急诊以"肺炎"收治入院，精神可。', "咳嗽3天，精神可。"),
        ("头痛。今为进一步诊治，门诊以“偏头痛”收入我院。", "头痛。"),
        ("发热。初步诊断：急性上呼吸道感染。对症治疗。", "发热。对症治疗。"),
        ("乏力。初步诊断：1.缺铁性贫血 2.慢性胃炎", "乏力。"),
        ("乏力。诊断：糖尿病；高血压。", "乏力。"),
        ("乏力。诊断：1.糖尿病；2.高血压；予二甲双胍口服。", "乏力。予二甲双胍口服。"),
        ("心悸1周，诊断为心律失常，予治疗。", "心悸1周，予治疗。"),
        ("皮疹3天，考虑诊断为湿疹。", "皮疹3天。"),
        ("腰痛，拟诊腰椎间盘突出症，", "腰痛"),
        ("门诊以“高血压”收入院", ""),
        ("吞咽困难，考虑反流性食管炎可能。", "吞咽困难。"),
    ],
)
def test_masked(text: str, masked: str) -> None:
    result, count = mask_leakage(text)
    assert result == masked
    assert count >= 1
    assert mask_leakage(result) == (result, 0)


@pytest.mark.parametrize(
    "text",
    [
        "2年前外院诊断为高血压，规律服药。",
        "既往诊断为2型糖尿病，血糖控制可。",
        "曾诊断为哮喘，近年未发作。",
        "父亲诊断为胃癌去世。",
        "诊断明确，予出院。",
        "外院考虑肺炎可能，输液3天。",
        "暂不考虑手术治疗。",
        "门诊随访，必要时住院。",
        "为明确诊断来我院。",
        "咳嗽3天，无发热。",
        "",
    ],
)
def test_kept(text: str) -> None:
    assert mask_leakage(text) == (text, 0)


@given(
    st.one_of(
        st.text(max_size=60), st.text("门诊以“”收入院初步断：为是拟。，；高血压曾既往1.\n", max_size=60)
    )
)
def test_any_text(text: str) -> None:
    masked, count = mask_leakage(text)
    assert len(masked) <= len(text)
    assert (count == 0) == (masked == text)
    assert mask_leakage(masked)[0] == masked
