from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from emr_fl_server.evaluation.attacks import attack
from emr_fl_shared.text.confusions import MEANINGFUL
from emr_fl_shared.text.guard import Guard
from emr_fl_shared.text.lexicon import load_lexicon
from emr_fl_shared.text.noise import make_noisy

LABELS = 6
BUDGET = 80
FINDINGS = [
    term.term
    for term in load_lexicon().findings()
    if 2 <= len(term.term) <= 5 and term.kind == "symptom" and not MEANINGFUL & set(term.term)
]


def corpus(n: int, seed: int) -> tuple[list[str], NDArray[np.bool_]]:
    """Notes of `LABELS` made-up diseases, each with its own eight findings; some notes have two."""
    rng = random.Random(seed)
    pools = [FINDINGS[label * 8 : label * 8 + 8] for label in range(LABELS)]
    others = FINDINGS[LABELS * 8 : LABELS * 8 + 60]
    texts, targets = [], np.zeros((n, LABELS), dtype=bool)
    for row in range(n):
        labels = rng.sample(range(LABELS), 2 if rng.random() < 0.3 else 1)
        targets[row, labels] = True
        present = [finding for label in labels for finding in rng.sample(pools[label], 3)] + rng.sample(
            others, 2
        )
        rng.shuffle(present)
        denied = rng.sample(others, 3)
        texts.append(
            f"患者{rng.randint(1, 30)}天前出现{'、'.join(present)}，{rng.choice('左右')}侧明显，无{'、'.join(denied)}，"
            f"体温{rng.uniform(36, 39):.1f}℃，一般情况可，饮食睡眠尚可，来我科门诊进一步诊治。"
        )
    return texts, targets


class Counting:
    """A classifier that remembers how often each text was shown, and how often it was asked."""

    def __init__(self, predict: Callable[[list[str]], NDArray[np.float64]]) -> None:
        self._predict = predict
        self.calls = 0
        self.seen: Counter[str] = Counter()

    def __call__(self, texts: list[str]) -> NDArray[np.float64]:
        self.calls += 1
        self.seen.update(texts)
        return self._predict(texts)


def decide(probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.asarray(probabilities >= 0.5)


@pytest.fixture(scope="module")
def classifier() -> Callable[[list[str]], NDArray[np.float64]]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3)),
        OneVsRestClassifier(LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)),
    )
    texts, targets = corpus(400, seed=1)
    model.fit(texts, targets)
    return lambda batch: np.asarray(model.predict_proba(batch))


@pytest.fixture(scope="module")
def held_out() -> tuple[list[str], NDArray[np.bool_]]:
    return corpus(60, seed=2)


def test_the_attack_beats_random_changes_and_keeps_its_limits(
    classifier: Callable[[list[str]], NDArray[np.float64]], held_out: tuple[list[str], NDArray[np.bool_]]
) -> None:
    texts, targets = held_out
    predict = Counting(classifier)
    result = attack(texts, targets, predict, decide, budget=BUDGET, seed=0)

    found = decide(classifier(texts)) & targets
    assert result.n == int(found.any(axis=1).sum()) > 50
    assert (result.attacked == found.any(axis=1)).all()
    # broken means broken, by the classifier's own word
    after = decide(classifier(result.texts)) & found
    assert ((~after.any(axis=1) & result.attacked) == result.broken).all()
    assert result.succeeded == int(result.broken.sum())

    # as many random changes of the same kinds, with as many tries as the attack had queries
    random_success = np.zeros(len(texts), dtype=bool)
    for trial in range(10):
        noisy = make_noisy(texts, rate=0.15, seed=trial)
        random_success |= ~(decide(classifier(noisy)) & found).any(axis=1) & found.any(axis=1)
    assert result.succeeded > 1.5 * random_success.sum()
    assert result.success_rate > 0.5

    assert (result.queries_each <= BUDGET).all()
    assert result.queries == sum(predict.seen.values()) == int(result.queries_each.sum())
    assert (result.queries_each[~result.attacked] == 1).all()
    assert (result.changed <= 0.15).all()
    assert predict.calls <= BUDGET  # batched over texts: never more calls than one text has queries


def test_meaning_is_kept(
    classifier: Callable[[list[str]], NDArray[np.float64]], held_out: tuple[list[str], NDArray[np.bool_]]
) -> None:
    texts, targets = held_out
    result = attack(texts, targets, classifier, decide, budget=BUDGET, seed=0)
    guard = Guard()
    assert sum(new != old for new, old in zip(result.texts, texts, strict=True)) > 40
    for old, new in zip(texts, result.texts, strict=True):
        assert guard.violations(old, new) == []
        assert re.findall(r"[\d.]+", new) == re.findall(r"[\d.]+", old)
        assert re.findall("[左右无]", new) == re.findall("[左右无]", old)


@pytest.mark.parametrize("budget", [1, 2, 3, 10, 33])
def test_budget_is_exact(
    budget: int,
    classifier: Callable[[list[str]], NDArray[np.float64]],
    held_out: tuple[list[str], NDArray[np.bool_]],
) -> None:
    texts, targets = held_out[0][:20], held_out[1][:20]
    predict = Counting(classifier)
    result = attack(texts, targets, predict, decide, budget=budget, seed=3)
    assert (result.queries_each <= budget).all()
    assert sum(predict.seen.values()) == result.queries
    if budget == 1:
        assert result.texts == texts and result.succeeded == 0
    if budget == 33:
        unbroken = result.attacked & ~result.broken & (result.changed < 0.1)
        assert (result.queries_each[unbroken] == budget).all()


def test_same_seed_same_texts_and_no_influence_between_texts(
    classifier: Callable[[list[str]], NDArray[np.float64]], held_out: tuple[list[str], NDArray[np.bool_]]
) -> None:
    texts, targets = held_out[0][:12], held_out[1][:12]
    first = attack(texts, targets, classifier, decide, budget=40, seed=5)
    assert attack(texts, targets, classifier, decide, budget=40, seed=5).texts == first.texts
    assert attack(texts, targets, classifier, decide, budget=40, seed=6).texts != first.texts
    fewer = attack(texts[:6], targets[:6], classifier, decide, budget=40, seed=5)
    assert fewer.texts == first.texts[:6]


def test_more_budget_breaks_at_least_as_much(
    classifier: Callable[[list[str]], NDArray[np.float64]], held_out: tuple[list[str], NDArray[np.bool_]]
) -> None:
    rates = [
        attack(*held_out, classifier, decide, budget=budget, seed=0).success_rate for budget in (10, 40, 120)
    ]
    assert rates[0] < rates[1] <= rates[2]


def test_texts_without_a_right_label_are_not_attacked(
    classifier: Callable[[list[str]], NDArray[np.float64]], held_out: tuple[list[str], NDArray[np.bool_]]
) -> None:
    texts, targets = held_out[0][:10], ~held_out[1][:10]
    nothing = attack(texts, targets, classifier, lambda p: np.zeros_like(p, dtype=bool), budget=20, seed=0)
    assert nothing.texts == texts
    assert (nothing.n, nothing.succeeded, nothing.queries) == (0, 0, 10)
    assert nothing.success_rate == nothing.mean_queries == 0.0


def test_argmax_decision(
    classifier: Callable[[list[str]], NDArray[np.float64]], held_out: tuple[list[str], NDArray[np.bool_]]
) -> None:
    def most_probable(probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None])

    result = attack(*held_out, classifier, most_probable, budget=BUDGET, seed=0)
    assert result.success_rate > 0.3


@pytest.mark.parametrize("texts", [[], ["", "[DATE]"], ["无发热"]])
def test_nothing_to_change(texts: list[str]) -> None:
    targets = np.ones((len(texts), 2), dtype=bool)
    result = attack(texts, targets, lambda batch: np.full((len(batch), 2), 0.9), decide, budget=10, seed=0)
    assert result.texts == texts
    assert result.succeeded == 0


@pytest.mark.parametrize(("budget", "rows"), [(0, 1), (10, 2)])
def test_wrong_arguments_are_refused(budget: int, rows: int) -> None:
    with pytest.raises(ValueError, match=r"budget|targets"):
        attack(
            ["发热"],
            np.ones((rows, 2), dtype=bool),
            lambda batch: np.ones((1, 2)),
            decide,
            budget=budget,
            seed=0,
        )


def test_no_text_in_the_representation() -> None:
    result = attack(
        ["患者发热"],
        np.ones((1, 2), dtype=bool),
        lambda batch: np.full((len(batch), 2), 0.9),
        decide,
        budget=5,
        seed=0,
    )
    assert "发热" not in repr(result)
