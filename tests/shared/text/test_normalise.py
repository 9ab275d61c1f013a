from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared.text.normalise import fold, normalise, normalise_with_offsets

CLINICAL = st.text(
    alphabet=st.one_of(
        st.sampled_from(
            "，,；;：:？?！!（）()。、 \t\n\r\u3000\u200b\ufeff°CcF㎜㎎µμ３8５．.％%→↑↓±≥≤～~-－–—[]［］ＡaＺ体温无痛"
        ),
        st.characters(),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("体温３８．５％", "体温38.5%"),
        ("ＢＰ：１２０／８０ｍｍＨｇ", "BP：120/80mmHg"),
        ("体温38.5°C,咳嗽3天", "体温38.5℃，咳嗽3天"),
        ("无发热,咳嗽（干咳）", "无发热，咳嗽(干咳)"),
        ("反跳痛（－）", "反跳痛(-)"),
        ("时间12：30，第1，2胸椎", "时间12:30，第1,2胸椎"),
        ("WBC 12.5×10^9/L↑, Hb 95g/L↓", "WBC 12.5×10^9/L↑, Hb 95g/L↓"),
        ("血糖≧7.0，µg", "血糖≥7.0，μg"),
        ("结节5㎜，体重60㎏", "结节5mm，体重60kg"),
        ("\ufeff发\u200b热\u3000\u3000咳嗽\r\n\r\n既往", "发热 咳嗽\n既往"),
        ("  头痛 \n", "头痛"),
        ("买买提・艾力", "买买提·艾力"),
        ("\ud800发热", "\ufffd发热"),
        ("±+−℃°↑↓≥≤Ⅱ①‰", "±+-℃°↑↓≥≤Ⅱ①‰"),
        ("⽔肿", "水肿"),
        ("", ""),
    ],
)
def test_written_forms(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(CLINICAL)
@settings(max_examples=600, deadline=None)
def test_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert fold(fold(text)) == fold(text)


@given(CLINICAL)
@settings(max_examples=300, deadline=None)
def test_fold_keeps_every_offset(text: str) -> None:
    assert len(fold(text)) == len(text)


@given(CLINICAL)
@settings(max_examples=300, deadline=None)
def test_offsets_point_into_the_original_in_order(text: str) -> None:
    result, offsets = normalise_with_offsets(text)
    assert len(result) == len(offsets)
    assert offsets == sorted(offsets)
    assert all(0 <= offset < len(text) for offset in offsets)
    hanzi = [
        (char, offset) for char, offset in zip(result, offsets, strict=True) if "\u4e00" <= char <= "\u9fff"
    ]
    assert all(text[offset] == char or ord(text[offset]) >= 0x2E80 for char, offset in hanzi)


def test_offsets_of_unchanged_characters() -> None:
    text = "\u200b体温 ３８℃"
    result, offsets = normalise_with_offsets(text)
    assert result == "体温 38℃"
    assert [text[offset] for offset in offsets] == ["体", "温", " ", "３", "８", "℃"]


@given(
    st.text(alphabet="一患〇𠀀,;:?!，；：？！（059 \n\t\u3000\u200b°CＣ㎜a·\x7f“”", max_size=16) | CLINICAL
)
@settings(max_examples=600, deadline=None)
def test_the_quick_way_writes_what_the_way_with_offsets_writes(text: str) -> None:
    assert normalise(text) == normalise_with_offsets(text)[0]


def test_every_character_alone_and_between_others() -> None:
    for code in range(0x110000):
        text = f"1{chr(code)}C"
        quick, slow = normalise(text), normalise_with_offsets(text)[0]
        assert quick == slow, hex(code)
