"""Which tokens are masked: whole words, the right share of them, and never what is not a word."""

from __future__ import annotations

import numpy as np
import pytest

from emr_fl_shared.model.encoder import encode
from emr_fl_shared.model.masking import IGNORED, Masking, read_words
from emr_fl_shared.text.tokeniser import tiny_tokenizer
from emr_fl_shared.text.words import words

NOTE = "患者3天前受凉后出现头痛、发热，[DATE]在[HOSPITAL]就诊，血压120/80mmHg，无恶心、呕吐。既往高血压病史10年，否认糖尿病史。"


def test_words_have_no_marks_and_no_placeholders() -> None:
    found = [NOTE[word.start : word.end] for word in words(NOTE)]
    assert {"患者", "受凉", "头痛", "发热", "高血压"} <= set(found)
    assert not any(mark in "".join(found) for mark in "、，。[]/")
    assert "DATE" not in found and "HOSPITAL" not in found


@pytest.mark.parametrize("length", [128, 20])
def test_the_tokens_are_those_of_training(length: int) -> None:
    tokenizer = tiny_tokenizer(length)
    texts = [NOTE, "", "[DATE]", "咳嗽3天"]
    read = read_words(tokenizer, texts, length)
    assert [text.token_ids for text in read] == encode(tokenizer, texts, length)
    for text, found in zip(texts, read, strict=True):
        assert len(found.spans) == len(found.words)
        tokens = tokenizer.convert_ids_to_tokens(found.token_ids)
        for span, positions in zip(found.spans, found.words, strict=True):
            pieces = "".join(tokens[place].removeprefix("##") for place in positions)
            assert text[span.start : span.end].lower().startswith(pieces)
    assert read[1].words == read[2].words == []


def test_whole_words_in_the_given_share_and_in_the_proportions_of_bert() -> None:
    tokenizer = tiny_tokenizer(128)
    (text,) = read_words(tokenizer, [NOTE], 128)
    masking, generator = Masking(tokenizer, 0.15), np.random.default_rng(0)
    of_word = {position: number for number, word in enumerate(text.words) for position in word}
    rounds, chosen, masks, kept = 2000, 0, 0, 0
    for _ in range(rounds):
        ids, targets = masking.draw(text, generator)
        places = [place for place, target in enumerate(targets) if target != IGNORED]
        whole = {place for number in {of_word[place] for place in places} for place in text.words[number]}
        assert set(places) == whole
        assert all(targets[place] == text.token_ids[place] for place in places)
        assert all(ids[place] == text.token_ids[place] for place in range(len(ids)) if place not in whole)
        chosen += len(places)
        masks += sum(ids[place] == tokenizer.mask_token_id for place in places)
        kept += sum(ids[place] == text.token_ids[place] for place in places)
    share = chosen / rounds / len(of_word)
    assert 0.13 < share <= 0.15
    assert masks / chosen == pytest.approx(0.8, abs=0.02)
    assert kept / chosen == pytest.approx(0.1, abs=0.02)


def test_a_short_text_has_one_word_masked() -> None:
    tokenizer = tiny_tokenizer(32)
    (text,) = read_words(tokenizer, ["咳嗽3天"], 32)
    for seed in range(20):
        _, targets = Masking(tokenizer, 0.01).draw(text, np.random.default_rng(seed))
        assert 1 <= sum(target != IGNORED for target in targets) <= 2


def test_random_tokens_are_words() -> None:
    tokenizer = tiny_tokenizer(128)
    (text,) = read_words(tokenizer, [NOTE], 128)
    kept = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} - {tokenizer.mask_token_id}
    own = set(text.token_ids)
    masking, generator = Masking(tokenizer, 0.9), np.random.default_rng(1)
    drawn = {token for _ in range(300) for token in masking.draw(text, generator)[0]} - own
    assert len(drawn) > 500
    assert not drawn & kept
