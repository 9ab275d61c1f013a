"""Words filled in by a masked language model: whole ones, few, and none that says something else."""

from __future__ import annotations

import random
from difflib import SequenceMatcher

import pytest
import torch

from emr_fl_client.augment.mlm import HIGHEST, MaskedWords
from emr_fl_client.augment.operator import shared_guard
from emr_fl_client.training.pretraining import PretrainingSettings, pretrain_round
from emr_fl_client.training.step import OptimiserSettings
from emr_fl_shared.model.masked_lm import MaskedLM, build_masked_lm
from emr_fl_shared.text.confusions import gains_reserved
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.words import words
from marked_notes import NOTES, problems
from training_site import SMALL

TEXTS = [made.text for made in NOTES]


@pytest.fixture(scope="module")
def trained() -> MaskedLM:
    masked = build_masked_lm("tiny", max_length=128, shape=SMALL)
    settings = PretrainingSettings(batch_size=16, optimiser=OptimiserSettings(learning_rate=5e-3))
    for number in (1, 2):
        pretrain_round(masked, TEXTS, settings, round_number=number, rounds=2)
    return masked


@pytest.fixture(scope="module")
def untrained() -> MaskedLM:
    return build_masked_lm("tiny", max_length=128, shape=SMALL)


@pytest.mark.parametrize("pick", ["top", "sample"])
def test_no_marked_fact_breaks_whatever_the_model_says(untrained: MaskedLM, pick: str) -> None:
    """An untrained model says anything: 500 notes of four sentences."""
    operator = MaskedWords(untrained, pick=pick)  # type: ignore[arg-type]
    results = operator.rewrite(TEXTS, random.Random(0))
    for seed, (made, result) in enumerate(zip(NOTES, results, strict=True)):
        assert problems(made, result, parts_left_out=0) == [], f"note {seed}"
        assert not gains_reserved(made.text, result)
    assert operator.changed == sum(result != text for result, text in zip(results, TEXTS, strict=True))
    assert operator.changed > 0.8 * len(TEXTS)


def test_whole_words_and_few_of_them(untrained: MaskedLM) -> None:
    operator = MaskedWords(untrained, pick="sample")
    proposals = operator.propose(TEXTS, random.Random(1))
    for text, edits in zip(TEXTS, proposals, strict=True):
        found = set(words(text))
        assert {edit[:2] for edit in edits} <= found
        assert all(len(edit.replacement) == edit.end - edit.start for edit in edits)
        assert len(edits) <= HIGHEST * len(found) + 1
        analysis = shared_guard().analyse(text)
        assert all(set(range(edit.start, edit.end)) <= set(analysis.free) for edit in edits)
    assert sum(map(len, proposals)) > len(TEXTS)


def test_a_trained_model_fills_in_words_that_it_has_read(trained: MaskedLM) -> None:
    results = MaskedWords(trained).rewrite(TEXTS, random.Random(2))
    read = set("".join(TEXTS))
    changes = [
        (text[start:end], result[other_start:other_end])
        for text, result in zip(TEXTS, results, strict=True)
        for kind, start, end, other_start, other_end in SequenceMatcher(
            None, text, result, autojunk=False
        ).get_opcodes()
        if kind == "replace"
    ]
    assert changes
    assert all(set(new) <= read for _, new in changes)


def test_the_same_state_gives_the_same_texts_and_torch_draws_nothing(untrained: MaskedLM) -> None:
    texts = TEXTS[:40]
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = MaskedWords(untrained, pick="sample").rewrite(texts, random.Random(4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert MaskedWords(untrained, pick="sample", batch_size=64).rewrite(texts, random.Random(4)) == first
    assert MaskedWords(untrained, pick="sample").rewrite(texts, random.Random(5)) != first


def test_texts_go_through_the_model_in_batches(untrained: MaskedLM) -> None:
    sizes: list[int] = []
    handle = untrained.model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(len(given["input_ids"])), with_kwargs=True
    )
    try:
        MaskedWords(untrained, batch_size=50).rewrite(TEXTS[:120], random.Random(0))
    finally:
        handle.remove()
    assert len(sizes) == 3 and sum(sizes) <= 120


@pytest.mark.parametrize("text", ["", "。", "[DATE]", "无发热", "38.5", "咳嗽", "无" * 300])
def test_texts_without_a_word_that_may_change_are_left(untrained: MaskedLM, text: str) -> None:
    assert MaskedWords(untrained).rewrite([text], random.Random(0)) == [text]


class _Careless(MaskedWords):
    """Proposes what stock augmenters do: the negation goes, and a harmless word changes beside it."""

    def propose(self, texts: list[str], rng: random.Random) -> list[list[Edit]]:  # type: ignore[override]
        return [[Edit(text.find("无"), text.find("无") + 1, ""), Edit(0, 2, "病人")] for text in texts]


def test_what_breaks_a_fact_is_rejected_and_counted_and_the_rest_stays(untrained: MaskedLM) -> None:
    operator = _Careless(untrained)
    text = "来者饮食如常，无恶心、呕吐。"
    assert operator.rewrite([text] * 3, random.Random(0)) == ["病人饮食如常，无恶心、呕吐。"] * 3
    assert operator.rejected["negation"] == 3
    assert operator.changed == 3


class _Noisy(MaskedWords):
    """Puts in what the evaluation noise does."""

    def propose(self, texts: list[str], rng: random.Random) -> list[list[Edit]]:  # type: ignore[override]
        return [[Edit(text.find("，"), text.find("，") + 1, ",")] for text in texts]


def test_the_noise_of_the_evaluation_is_rejected(untrained: MaskedLM) -> None:
    operator = _Noisy(untrained)
    text = "患者饮食如常，睡眠如常。"
    assert operator.rewrite([text], random.Random(0)) == [text]
    assert operator.rejected == {"evaluation noise": 1}


class _Forgetful(MaskedWords):
    """Loses a finding, which the guard takes for a typing error."""

    def propose(self, texts: list[str], rng: random.Random) -> list[list[Edit]]:  # type: ignore[override]
        return [[Edit(text.find("头痛"), text.find("头痛") + 2, "不适")] for text in texts]


def test_a_lost_finding_is_rejected(untrained: MaskedLM) -> None:
    operator = _Forgetful(untrained)
    text = "患者头痛3天就诊。"
    assert operator.rewrite([text], random.Random(0)) == [text]
    assert operator.rejected["lost finding"] == 1
