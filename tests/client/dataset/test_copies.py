"""What counts as a copy of a text."""

from __future__ import annotations

import pytest

from emr_fl_client.dataset.copies import SHORTEST, copy_keys

TEXT = "患者3天前受凉后出现咳嗽、咳痰，伴发热，最高38.5℃，无胸痛。查体咽部充血。"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(TEXT, id="the same"),
        pytest.param(TEXT.replace("38.5", "39").replace("3天", "12 天"), id="other measurements"),
        pytest.param(TEXT.replace("，", ",").replace("。", "\n"), id="punctuation"),
        pytest.param("[PATIENT_NAME]" + TEXT + "[STAFF_NAME]", id="placeholders"),
        pytest.param(TEXT.replace("、", " _ "), id="blanks"),
    ],
)
def test_copies(other: str) -> None:
    first, second = copy_keys([TEXT, other])
    assert first and first == second


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(TEXT.replace("无胸痛", "有胸痛"), id="a word"),
        pytest.param(TEXT.replace("咳嗽、咳痰", "咳痰、咳嗽"), id="order"),
        pytest.param(TEXT + "双肺呼吸音清。", id="a sentence more"),
    ],
)
def test_other_texts(other: str) -> None:
    first, second = copy_keys([TEXT, other])
    assert first != second


def test_short_texts_are_no_copies() -> None:
    assert copy_keys(["咳嗽3天", "咳" * (SHORTEST - 1) + "1234567890"]) == [b"", b""]
    assert copy_keys(["咳" * SHORTEST])[0] != b""


def test_case_does_not_count_and_lone_surrogates_do_not_matter() -> None:
    first, second = copy_keys(
        ["ECG Sinus Rhythm Normal Axis " + "\ud800", "ecg sinus rhythm normal axis " + "\ud800"]
    )
    assert first == second != b""
