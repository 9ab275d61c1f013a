from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_shared.text.lexicon import load_lexicon
from emr_fl_shared.text.placeholders import PLACEHOLDER, placeholders
from emr_fl_shared.text.tokeniser import add_placeholders, tiny_tokenizer, tiny_vocabulary
from emr_fl_shared.text.vocabulary import BEYOND_GB2312, build_vocabulary, gb2312_hanzi, gb2312_level1


def test_shipped_vocabulary_is_the_generated_one() -> None:
    assert list(tiny_vocabulary()) == build_vocabulary()


def test_special_tokens_have_the_customary_first_ids() -> None:
    tokenizer = tiny_tokenizer()
    assert [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id] == [0, 1, 2]
    assert [tokenizer.sep_token_id, tokenizer.mask_token_id] == [3, 4]
    assert len(tokenizer) == len(tiny_vocabulary())


def test_gb2312_is_complete_and_known_one_token_a_character() -> None:
    hanzi = gb2312_hanzi()
    assert len(hanzi) == len(set(hanzi)) == 6763
    assert len(gb2312_level1()) == 3755
    assert {"啊", "座"} <= set(gb2312_level1()) and "亍" not in gb2312_level1()
    assert tiny_tokenizer().tokenize("".join(hanzi) + BEYOND_GB2312) == [*hanzi, *BEYOND_GB2312]


@pytest.mark.parametrize("text", ["[DATE:2024-03]", "[DATE:2023-11-02]", "[BADGE_7]"])
def test_what_a_site_writes_beside_the_list_is_a_placeholder_too(text: str) -> None:
    assert PLACEHOLDER.fullmatch(text)


@pytest.mark.parametrize("text", ["[DATE:2024]", "[HOSPITAL:2024-03]", "[date]", "[左]", "[1]"])
def test_other_brackets_are_no_placeholders(text: str) -> None:
    assert not PLACEHOLDER.search(text)


@pytest.mark.parametrize("placeholder", placeholders())
def test_placeholder_is_one_token_anywhere(placeholder: str) -> None:
    assert PLACEHOLDER.fullmatch(placeholder)
    tokenizer = tiny_tokenizer()
    assert tokenizer.tokenize(f"患者{placeholder}，T{placeholder}3") == [
        "患",
        "者",
        placeholder,
        "，",
        "t",
        placeholder,
        "3",
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("T38.5℃", "t ##3 ##8 . 5 ##℃"),
        ("BP 120/80mmHg", "b ##p 1 ##2 ##0 / 8 ##0 ##m ##m ##h ##g"),
        ("WBC↑，Ⅱ期", "w ##b ##c ##↑ ， ⅱ 期"),
        ("≥3μmol", "≥ ##3 ##μ ##m ##o ##l"),
    ],
)
def test_numbers_units_and_signs(text: str, tokens: str) -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.tokenize(text) == tokens.split()
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_every_character_of_the_lexicon_is_known() -> None:
    wordings = {entry.wording for entry in load_lexicon().entries.values()}
    tokenizer = tiny_tokenizer()
    assert {
        wording for wording in wordings if tokenizer.unk_token_id in tokenizer(wording)["input_ids"]
    } == set()


def test_length_limit_counts_the_frame() -> None:
    ids = tiny_tokenizer(16)("咳嗽" * 30, truncation=True)["input_ids"]
    assert len(ids) == 16
    assert (ids[0], ids[-1]) == (2, 3)


def test_saved_folder_loads_with_the_auto_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokenizer = tiny_tokenizer(96)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "患者[PATIENT_NAME]，男，[DATE]T38.5℃，腘窝疼痛"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.model_max_length == 96


def test_other_tokenisers_learn_the_placeholders_once() -> None:
    from transformers import BertTokenizerFast

    other = BertTokenizerFast(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "患": 5})
    assert add_placeholders(other) == len(placeholders())
    assert add_placeholders(other) == 0
    assert other.tokenize("患[BED_NUM]") == ["患", "[BED_NUM]"]
