"""MinHash against the definition: the Jaccard similarity of all shingles, worked out slowly."""

from __future__ import annotations

import random

import numpy as np

from emr_fl_shared.quality.sketches import SHINGLE, SIMILAR, comparable, similar_groups, sketch

ALPHABET = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 300))


def jaccard(one: str, other: str) -> float:
    """|A ∩ B| / |A ∪ B| over the sets of shingles."""
    a = {one[at : at + SHINGLE] for at in range(len(one) - SHINGLE + 1)}
    b = {other[at : at + SHINGLE] for at in range(len(other) - SHINGLE + 1)}
    return len(a & b) / len(a | b)


def invented(draw: random.Random, length: int) -> str:
    return "".join(draw.choices(ALPHABET, k=length))


def changed(draw: random.Random, text: str, places: int) -> str:
    letters = list(text)
    for at in draw.sample(range(len(letters)), places):
        letters[at] = "甲"
    return "".join(letters)


def test_the_estimate_is_the_similarity() -> None:
    draw = random.Random(3)
    errors = []
    for places in (0, 1, 2, 4, 8, 16, 40):
        for _ in range(30):
            text = invented(draw, 200)
            other = changed(draw, text, places)
            sketches = sketch([text, other])
            errors.append(float((sketches[0] == sketches[1]).mean()) - jaccard(text, other))
    assert abs(np.mean(errors)) < 0.02, "unbiased"
    assert np.std(errors) < 0.07, "60 orders: at most sqrt(1/4/60) = .065"


def test_copies_are_grouped_and_others_are_not() -> None:
    draw = random.Random(4)
    texts = [invented(draw, draw.randint(60, 300)) for _ in range(300)]
    copies = [changed(draw, text, 1) for text in texts[:100]]
    assert min(jaccard(a, b) for a, b in zip(texts, copies, strict=False)) > SIMILAR
    groups = similar_groups(sketch(texts + copies)).tolist()
    assert len(set(groups[:300])) == 300
    found = sum(one == other for one, other in zip(groups, groups[300:], strict=False))
    assert found >= 97


def test_half_copies_are_no_copies() -> None:
    draw = random.Random(5)
    texts = [invented(draw, 200) for _ in range(200)]
    halves = [text[:130] + invented(draw, 70) for text in texts]
    assert max(jaccard(a, b) for a, b in zip(texts, halves, strict=True)) < 0.55
    groups = similar_groups(sketch(texts + halves)).tolist()
    assert len(set(groups)) == 400


def test_a_batch_gives_what_single_texts_give() -> None:
    draw = random.Random(6)
    texts = [invented(draw, draw.randint(SHINGLE, 60)) for _ in range(50)]
    together = sketch(texts)
    assert all((sketch([text])[0] == row).all() for text, row in zip(texts, together, strict=True))
    assert sketch([]).shape == (0, 60)
    assert similar_groups(sketch([])).tolist() == []


def test_many_identical_texts_are_one_group() -> None:
    text = invented(random.Random(7), 80)
    assert set(similar_groups(sketch([text] * 500)).tolist()) == {0}


def test_what_does_not_count() -> None:
    one = "头痛三天，伴恶心、呕吐，无发热。血压１２０/８０，ＢＰ平稳。"
    assert comparable(one) == comparable(one.replace("，", " ").replace("１２０", "120").lower()) != ""
    assert comparable("头痛三天。") == ""
