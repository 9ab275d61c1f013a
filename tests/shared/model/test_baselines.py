"""The TF-IDF baseline: tuned on validation only, deterministic, clear on degenerate input."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from emr_fl_shared.errors import DataError
from emr_fl_shared.metrics import best_threshold, macro_f1, score_set
from emr_fl_shared.model.baselines import TfidfBaseline

FINDINGS = ["咳嗽", "咳痰", "胸闷", "气促", "腹痛", "腹泻", "头晕", "头痛", "心悸", "乏力", "皮疹", "瘙痒"]
FILLER = "患者日前无明显诱因出现伴于我院就诊今来否认不适其余均可"


def corpus(seed: int, n: int, labels: int = 6, *, single: bool = False) -> tuple[list[str], np.ndarray]:
    """Texts in which label k makes findings 2k and 2k + 1 likely, label 0 far more often than the last one."""
    generator = random.Random(seed)
    texts, y = [], np.zeros((n, labels), dtype=bool)
    for row in range(n):
        chosen = {min(int(generator.expovariate(0.7)), labels - 1)}
        if not single and generator.random() < 0.4:
            chosen.add(generator.randrange(labels))
        y[row, sorted(chosen)] = True
        words = [
            finding
            for index, finding in enumerate(FINDINGS[: 2 * labels])
            if generator.random() < (0.7 if index // 2 in chosen else 0.06)
        ]
        words += ["".join(generator.choices(FILLER, k=3)) for _ in range(5)]
        generator.shuffle(words)
        texts.append("，".join(words))
    return texts, y


TRAIN, VALIDATION, TEST = corpus(0, 400), corpus(1, 150), corpus(2, 300)


@pytest.fixture(scope="module")
def fitted() -> TfidfBaseline:
    return TfidfBaseline().fit(*TRAIN, VALIDATION)


def test_learns_and_tunes(fitted: TfidfBaseline) -> None:
    scores = score_set(TEST[1], fitted.probabilities(TEST[0]), fitted.decision)
    assert scores["macro_f1"] > 0.65
    assert fitted.decision.kind == "threshold" and fitted.decision.temperature != 1.0
    assert fitted.c == max(fitted.validation_macro_f1, key=lambda c: fitted.validation_macro_f1[c])
    p = fitted.probabilities(VALIDATION[0])
    assert macro_f1(VALIDATION[1], fitted.decision.decide(p)) == pytest.approx(
        fitted.validation_macro_f1[fitted.c]
    )
    assert fitted.decision.threshold == best_threshold(VALIDATION[1], p)


def test_not_weaker_than_the_plain_converged_one(fitted: TfidfBaseline) -> None:
    vectoriser = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True, min_df=2)
    train, validation, test = (
        vectoriser.fit_transform(TRAIN[0]),
        *map(vectoriser.transform, (VALIDATION[0], TEST[0])),
    )
    best, score = -1.0, 0.0
    for c in (0.3, 1, 3, 10, 30, 100):
        p_validation, p_test = np.zeros(VALIDATION[1].shape), np.zeros(TEST[1].shape)
        for k in range(TRAIN[1].shape[1]):
            model = LogisticRegression(
                C=c, class_weight="balanced", solver="liblinear", tol=1e-6, max_iter=10_000
            )
            model.fit(train, TRAIN[1][:, k])
            p_validation[:, k] = model.predict_proba(validation)[:, 1]
            p_test[:, k] = model.predict_proba(test)[:, 1]
        threshold = best_threshold(VALIDATION[1], p_validation)
        value = macro_f1(VALIDATION[1], p_validation >= threshold)
        if value > best:
            best, score = value, macro_f1(TEST[1], p_test >= threshold)
    ours = macro_f1(TEST[1], fitted.decision.decide(fitted.probabilities(TEST[0])))
    assert ours > score - 0.02


def test_balancing_finds_the_rare_labels() -> None:
    texts, y = corpus(3, 500)
    y[:, 5] = False
    rare = np.arange(12)
    y[rare, 5] = True
    texts = [
        text + "，皮疹瘙痒" if row in rare else text.replace("皮疹", "") for row, text in enumerate(texts)
    ]
    probabilities = TfidfBaseline().fit(texts, y, VALIDATION).probabilities(["皮疹瘙痒，咳", "咳嗽"])
    assert probabilities[0, 5] > 5 * probabilities[1, 5]


def test_deterministic_also_over_processes(fitted: TfidfBaseline) -> None:
    again = TfidfBaseline().fit(*TRAIN, VALIDATION)
    split = TfidfBaseline(grid=(5.0,), n_jobs=2).fit(*TRAIN, VALIDATION)
    alone = TfidfBaseline(grid=(5.0,)).fit(*TRAIN, VALIDATION)
    np.testing.assert_array_equal(again.probabilities(TEST[0]), fitted.probabilities(TEST[0]))
    np.testing.assert_array_equal(split.probabilities(TEST[0]), alone.probabilities(TEST[0]))
    assert again.decision == fitted.decision and split.decision == alone.decision


def test_probabilities_do_not_depend_on_the_batch(fitted: TfidfBaseline) -> None:
    whole = fitted.probabilities(TEST[0])
    single = np.concatenate([fitted.probabilities([text]) for text in TEST[0][:20]])
    np.testing.assert_allclose(single, whole[:20], rtol=1e-5)
    assert fitted.probabilities([]).shape == (0, 6)
    assert fitted.probabilities([""]).shape == (1, 6)


@pytest.mark.parametrize("single", [True, False])
def test_labels_never_or_always_seen(single: bool) -> None:
    texts, y = corpus(4, 200, single=single)
    y = np.column_stack([y, np.zeros(200, bool)])
    validation = corpus(5, 100, single=single)
    wide = np.column_stack([validation[1], np.zeros(100, bool)])
    wide[0, 6] = True  # a label that training never saw
    model = TfidfBaseline(grid=(5.0,)).fit(texts, y, (validation[0], wide))
    assert (model.probabilities(TEST[0])[:, 6] == 0.0).all()
    assert model.decision.kind == ("argmax" if single else "threshold")
    if not single:
        y[:, 6] = True
        model = TfidfBaseline(grid=(5.0,)).fit(texts, y, (validation[0], wide))
        assert (model.probabilities(TEST[0])[:, 6] == 1.0).all()


def test_one_label_a_record_gives_one_label_a_record() -> None:
    model = TfidfBaseline(grid=(5.0,)).fit(*corpus(6, 300, single=True), corpus(7, 100, single=True))
    texts, y = corpus(8, 200, single=True)
    decided = model.decision.decide(model.probabilities(texts))
    np.testing.assert_array_equal(decided.sum(axis=1), 1)
    assert macro_f1(y, decided) > 0.6


def test_a_handful_of_texts_and_a_validation_set_without_positives() -> None:
    model = TfidfBaseline(grid=(1.0, 5.0)).fit(
        ["咳嗽", "腹痛", "头晕"],
        np.array([[1, 0], [0, 1], [1, 1]], dtype=bool),
        (["乏力"], np.zeros((1, 2), dtype=bool)),
    )
    assert model.c == 1.0 and model.decision.threshold == 0.5
    p = model.probabilities(["咳嗽"])
    assert p[0, 0] > p[0, 1]


@pytest.mark.parametrize(
    ("texts", "y", "validation"),
    [
        pytest.param([], np.zeros((0, 2), bool), VALIDATION, id="no record"),
        pytest.param(["", ""], np.eye(2, dtype=bool), (["咳"], np.ones((1, 2), bool)), id="empty texts"),
        pytest.param(["咳"], np.eye(2, dtype=bool), (["咳"], np.ones((1, 2), bool)), id="counts differ"),
        pytest.param(["咳", "痛"], np.eye(2, dtype=bool), (["咳"], np.ones((1, 3), bool)), id="other labels"),
        pytest.param(["咳", "痛"], np.eye(2, dtype=bool), ([], np.ones((0, 2), bool)), id="no validation"),
    ],
)
def test_refuses(texts: list[str], y: np.ndarray, validation: tuple[list[str], np.ndarray]) -> None:
    with pytest.raises(DataError):
        TfidfBaseline(grid=(5.0,)).fit(texts, y, validation)


def test_before_fitting() -> None:
    with pytest.raises(ValueError, match="fit"):
        TfidfBaseline().probabilities(["咳"])


def test_stays_quick() -> None:
    """50 labels × 1,500 texts: 4 s on an idle core; the limit only catches a change of order."""
    texts, y = corpus(9, 1500)
    wide = np.zeros((1500, 50), dtype=bool)
    wide[np.arange(1500), np.random.default_rng(0).integers(0, 50, 1500)] = True
    wide[:, :6] |= y
    began = time.process_time()
    TfidfBaseline(grid=(25.0,)).fit(texts, wide, (texts[:200], wide[:200]))
    assert time.process_time() - began < 15


def test_it_gets_the_thresholds_a_label_that_the_model_gets() -> None:
    texts, y = TRAIN
    y = y.copy()
    y[:, 4] = False  # never trained: any threshold leaves it out
    model = TfidfBaseline(grid=(5.0,), threshold_shrinkage=10.0).fit(texts, y, VALIDATION)
    thresholds = model.decision.thresholds
    assert len(thresholds) == 6 and thresholds[4] == model.decision.threshold
    assert len(set(thresholds)) > 2
    decided = model.decision.decide(model.probabilities(TEST[0]))
    assert not decided[:, 4].any() and decided.any(axis=0)[[0, 1, 2]].all()
    plain = TfidfBaseline(grid=(5.0,)).fit(texts, y, VALIDATION)
    assert plain.decision.threshold == model.decision.threshold and plain.decision.thresholds == ()


def test_without_balance_it_is_plain_logistic_regression(fitted: TfidfBaseline) -> None:
    plain = TfidfBaseline(balanced=False).fit(*TRAIN, VALIDATION)
    rare = int(np.argmin(TRAIN[1].sum(axis=0)))
    assert plain.probabilities(TEST[0])[:, rare].mean() < fitted.probabilities(TEST[0])[:, rare].mean()
    features = plain._vectoriser.transform(TRAIN[0])
    reference = LogisticRegression(
        C=plain.c, solver="liblinear", dual=True, tol=1e-2, max_iter=10, random_state=0
    )
    with pytest.warns(Warning):
        reference.fit(features, TRAIN[1][:, rare])
    ours = plain._weights[:, list(plain._fitted).index(rare)]
    np.testing.assert_allclose(ours, reference.coef_[0], rtol=1e-4, atol=1e-6)
