from __future__ import annotations

import hashlib
import random
import re

import pytest

from emr_fl_shared.text.confusions import (
    MEANINGFUL,
    homophones,
    lookalikes,
    side_of_pair,
    term_pairs,
    unit_pairs,
)
from emr_fl_shared.text.edits import Edit, apply_edits, fits
from emr_fl_shared.text.guard import Guard
from emr_fl_shared.text.lexicon import load_lexicon
from emr_fl_shared.text.noise import KINDS, Kind, make_noisy, noise_of_kind, plan_noise

FINDINGS = [
    term.term
    for term in load_lexicon().findings()
    if 2 <= len(term.term) <= 6 and term.kind == "symptom" and not MEANINGFUL & set(term.term)
]


def sentence(rng: random.Random) -> str:
    """A note of about 120 characters with marked negations, numbers, a side and a placeholder."""
    a, b, c, d, e, f, g, h = rng.sample(FINDINGS, 8)
    return (
        f"患者{rng.randint(1, 30)}天前无明显诱因出现{a}，{rng.choice('左右')}侧为主，伴{b}、{c}，活动后明显，无{d}、{e}，"
        f"体温{rng.uniform(36, 40):.1f}℃，血压{rng.randint(90, 180)}/80mmHg，"
        f"自觉{f}逐渐加重，[DATE]就诊于[HOSPITAL]，口服药物后{g}稍好转，否认{h}，查体腹软，心律齐，一般情况可，饮食睡眠尚可，大小便正常。"
    )


TEXTS = [sentence(random.Random(number)) for number in range(200)]


def distance(one: str, other: str) -> int:
    """Levenshtein distance, by the book."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


@pytest.mark.parametrize("rate", [0.05, 0.10, 0.20])
def test_realised_rate_for_long_texts(rate: float) -> None:
    guard = Guard()
    touched = [
        plan_noise(guard.read(text), rate, random.Random(index))[1] / len(text)
        for index, text in enumerate(TEXTS)
    ]
    assert sum(touched) / len(touched) == pytest.approx(rate, rel=0.05)
    noisy = make_noisy(TEXTS, rate=rate, seed=3)
    edited = sum(distance(*pair) for pair in zip(TEXTS, noisy, strict=True)) / sum(map(len, TEXTS))
    assert edited == pytest.approx(rate, rel=0.15)


def test_short_texts_have_the_rate_on_average() -> None:
    texts = [f"{one}伴{two}" for one, two in zip(FINDINGS[:150], FINDINGS[150:300], strict=True)]
    noisy = make_noisy(texts, rate=0.10, seed=5)
    edited = sum(distance(*pair) for pair in zip(texts, noisy, strict=True)) / sum(map(len, texts))
    assert 0.06 < edited < 0.14


def test_rate_zero_changes_nothing_and_wrong_rates_are_refused() -> None:
    assert make_noisy(TEXTS[:20], rate=0.0, seed=1) == TEXTS[:20]
    with pytest.raises(ValueError, match="rate"):
        make_noisy(["发热"], rate=1.5, seed=1)


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0])
def test_meaning_bearing_characters_survive(rate: float) -> None:
    for text, noisy in zip(TEXTS, make_noisy(TEXTS, rate=rate, seed=11), strict=True):
        assert re.findall(r"\[[A-Z_]+\]", noisy) == re.findall(r"\[[A-Z_]+\]", text)
        assert re.findall(r"\d", noisy) == re.findall(r"\d", text)
        assert re.findall("[左右]", noisy) == re.findall("[左右]", text)
        assert noisy.count("否认") == text.count("否认") == 1
        assert "加重" in noisy and "好转" in noisy
        assert "无明显诱因" in noisy


def test_the_same_seed_gives_the_same_noise_and_another_another() -> None:
    assert make_noisy(TEXTS, seed=7) == make_noisy(TEXTS, seed=7)
    assert make_noisy(TEXTS, seed=7) != make_noisy(TEXTS, seed=8)


def test_noise_of_a_text_does_not_depend_on_the_others() -> None:
    everything = make_noisy(TEXTS[:10], seed=7)
    others_changed = make_noisy(["咳嗽", *TEXTS[1:9], "发热"], seed=7)
    assert others_changed[1:9] == everything[1:9]


def test_every_replacement_is_on_the_evaluation_side() -> None:
    guard = Guard()
    seen = set()
    for index, text in enumerate(TEXTS):
        for start, end, new in plan_noise(guard.read(text), 0.3, random.Random(index))[0]:
            old = text[start:end]
            if new in homophones("test").get(old, ()) or new in lookalikes("test").get(old, ()):
                assert side_of_pair(old, new) == "test"
                seen.add("character")
            elif new in (*term_pairs("test").get(old, ()), *unit_pairs("test").get(old, ())):
                assert new not in (*term_pairs("train").get(old, ()), *unit_pairs("train").get(old, ()))
                seen.add("wording")
            else:
                assert end - start == 1
                seen.add("dropped" if new == "" else "debris")
    assert seen == {"character", "wording", "dropped", "debris"}


@pytest.mark.parametrize(
    ("rate", "seed", "digest"),
    [
        (0.1, 2026, "345ee65422c383de98bd04b5f78237a068f84fd1ade5d2995fe95b951b474892"),
        (0.3, 5, "c4856b903a168b30cf74f15665b0e04c32e1270d02670b97be0643bb10beb740"),
    ],
)
def test_the_noisy_set_never_changes(rate: float, seed: int, digest: str) -> None:
    """Scores of finished runs are on these very texts."""
    noisy = make_noisy(TEXTS, rate=rate, seed=seed)
    assert hashlib.sha256("\n".join(noisy).encode()).hexdigest() == digest


READ = [Guard(remember=0).read(text) for text in TEXTS]
FEW_PLACES = ("abbreviation",)
"""Kinds that can't reach every rate."""


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_reaches_its_rate_or_says_so(kind: Kind, rate: float) -> None:
    noisy, touched = noise_of_kind(READ, kind, rate=rate, seed=1)
    assert len(noisy) == len(TEXTS)
    assert touched == pytest.approx(rate, rel=0.2) if kind not in FEW_PLACES else 0 < touched < 1.3 * rate
    assert noise_of_kind(READ, kind, rate=rate, seed=1)[0] == noisy
    assert noise_of_kind(READ, kind, rate=rate, seed=2)[0] != noisy
    assert noise_of_kind(READ, kind, rate=0.0, seed=1) == (TEXTS, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_touches_what_bears_the_meaning(kind: Kind) -> None:
    for text, noisy in zip(TEXTS, noise_of_kind(READ, kind, rate=0.3, seed=3)[0], strict=True):
        for pattern in (r"\[[A-Z_]+\]", r"\d", "[左右]"):
            assert re.findall(pattern, noisy) == re.findall(pattern, text)
        assert noisy.count("否认") == 1 and "加重" in noisy and "无明显诱因" in noisy


def test_mixed_is_the_noisy_set() -> None:
    assert noise_of_kind(READ, "mixed", rate=0.1, seed=2026)[0] == make_noisy(TEXTS, seed=2026)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_uses_a_replacement_of_training(kind: Kind) -> None:
    """Character by character against the tables of the training side."""
    weights = {"deletion": "drop", "width": "debris"}.get(kind, kind)
    for index, analysis in enumerate(READ):
        planned = {} if kind == "mixed" else {"weights": {weights: 1.0}}
        for start, end, new in plan_noise(analysis, 0.3, random.Random(index), **planned)[0]:
            old = analysis.text[start:end]
            assert new not in (*homophones("train").get(old, ()), *lookalikes("train").get(old, ()))
            assert new not in (*term_pairs("train").get(old, ()), *unit_pairs("train").get(old, ()))
            if kind == "insertion":
                assert new[0] == old and new[1:] in homophones("test")[old]
                assert new != 2 * old, "what training inserts"


def test_a_higher_rate_adds_to_the_slips_of_a_lower_one() -> None:
    def edits(rate: float) -> set[Edit]:
        return set(plan_noise(READ[0], rate, random.Random(1), {"sound": 1.0})[0])

    assert edits(0.05) < edits(0.1) < edits(0.2)


def test_kinds_refuse_a_wrong_rate() -> None:
    with pytest.raises(ValueError, match="rate"):
        noise_of_kind(READ, "sound", rate=-0.1, seed=1)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([Edit(0, 2, "发烧")], "发烧3天"),
        ([Edit(3, 4, "d"), Edit(0, 2, "")], "3d"),
        ([Edit(0, 2, "甲"), Edit(1, 3, "乙")], "甲3天"),
        ([Edit(2, 2, " ")], "发热 3天"),
        ([], "发热3天"),
    ],
)
def test_edits(edits: list[Edit], expected: str) -> None:
    assert apply_edits("发热3天", edits) == expected


@pytest.mark.parametrize(
    ("text", "span", "replacement", "expected"),
    [
        ("体温38", (0, 2), "T", True),
        ("体温：38", (0, 2), "T", True),
        ("体温高", (0, 2), "T", False),
        ("T体温38", (1, 3), "temp", False),
        ("测血压120", (1, 3), "BP", True),
        ("血压mmHg", (0, 2), "BP", False),
    ],
)
def test_where_a_latin_wording_fits(
    text: str, span: tuple[int, int], replacement: str, expected: bool
) -> None:
    assert fits(text, *span, replacement) is expected
