"""Scores by set with their drop, and each label against its frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from emr_fl_server.evaluation.scoring import per_chapter_scores, per_label_scores, predict_sets, score_sets
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.errors import DataError
from emr_fl_shared.labels import frequency_groups
from emr_fl_shared.metrics import Decision, score_set


@dataclass(frozen=True)
class Named:
    id: int
    zh: str
    en: str


Y = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
RIGHT = np.where(Y, 2.0, -2.0)
HALF_RIGHT = np.where(
    [[1, 0], [0, 1], [0, 0], [0, 0]], 2.0, -2.0
)  # two of four found: F1 = 2/3 for each label


def held_out(name: str) -> HeldOutSet:
    return HeldOutSet(name, ["a", "b", "c", "d"], Y, ["p", "p", "q", "r"])


def test_scores_and_drop_by_hand() -> None:
    sets = {name: held_out(name) for name in ("standard", "noisy", "cross_site")}
    scores = score_sets({"standard": RIGHT, "noisy": HALF_RIGHT, "cross_site": RIGHT}, sets, Decision())
    assert "drop" not in scores["standard"]
    assert scores["noisy"]["drop"] == pytest.approx(1 / 3)
    assert scores["cross_site"]["drop"] == 0.0
    expected = score_set(Y, Decision().probabilities(HALF_RIGHT), Decision())
    assert {key: scores["noisy"][key] for key in expected} == expected


def test_temperature_and_threshold_are_the_decisions() -> None:
    logits = np.where(Y, 1.0, -1.0)
    cold, warm = Decision("threshold", 0.8, 0.5), Decision("threshold", 0.8, 1.0)
    sets = {"standard": held_out("standard")}
    assert score_sets({"standard": logits}, sets, cold)["standard"]["macro_f1"] == 1.0  # sigmoid(2) = .88
    assert score_sets({"standard": logits}, sets, warm)["standard"]["macro_f1"] == 0.0  # sigmoid(1) = .73


def test_no_standard_no_drop_and_standard_at_zero_has_none() -> None:
    alone = score_sets({"validation": RIGHT}, {"validation": held_out("validation")}, Decision())
    assert "drop" not in alone["validation"]
    sets = {name: held_out(name) for name in ("standard", "noisy")}
    zero = score_sets({"standard": -RIGHT, "noisy": RIGHT}, sets, Decision())
    assert zero["noisy"]["drop"] is None


def test_interval_holds_the_score() -> None:
    generator = np.random.default_rng(0)
    y = generator.random((400, 3)) < 0.4
    logits = np.where(y, 1.0, -1.0) + generator.normal(0, 1.2, y.shape)
    big = HeldOutSet("standard", ["x"] * 400, y, [f"p{i // 2}" for i in range(400)])
    scores = score_sets({"standard": logits}, {"standard": big}, Decision(), interval_seed=0)["standard"]
    low, high = scores["macro_f1_interval"]
    assert low < scores["macro_f1"] < high < low + 0.15


def test_predict_sets_calls_once_a_set() -> None:
    seen: list[list[str]] = []

    def predict(texts: list[str]) -> np.ndarray:
        seen.append(texts)
        return RIGHT

    logits = predict_sets(predict, {"standard": held_out("standard"), "noisy": held_out("noisy")})
    assert list(logits) == ["standard", "noisy"] and seen == [["a", "b", "c", "d"]] * 2


def test_logits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError):
        score_sets({"standard": RIGHT[:3]}, {"standard": held_out("standard")}, Decision())
    with pytest.raises(DataError):
        score_sets({"standard": RIGHT * np.nan}, {"standard": held_out("standard")}, Decision())


def test_rows_by_hand() -> None:
    y = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=bool)
    p = np.array([[0.9, 0.6, 0.7], [0.9, 0.8, 0.1], [0.2, 0.1, 0.1]])
    labels = [Named(4, "高血压", "hypertension"), Named(7, "胃炎", "gastritis"), Named(9, "痛风", "gout")]
    rows = per_label_scores(y, p, Decision(), labels)
    assert rows[0] == {
        "id": 4,
        "zh": "高血压",
        "en": "hypertension",
        "support": 3,
        "predicted": 2,
        "f1": pytest.approx(0.8),
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "pr_auc": pytest.approx(1.0),
        "ece": pytest.approx((2 * 0.1 + 0.8) / 3),  # .9 twice, always right; .2, right
        "ece_mass": pytest.approx((2 * 0.1 + 0.8) / 3),
        "brier": pytest.approx((2 * 0.01 + 0.64) / 3),
        "group": "head",
    }
    assert rows[2]["ece"] is rows[2]["ece_mass"] is rows[2]["pr_auc"] is None
    assert rows[2]["brier"] == pytest.approx((0.49 + 0.01 + 0.01) / 3)
    assert (rows[1]["precision"], rows[1]["recall"], rows[1]["group"]) == (0.5, 1.0, "middle")
    assert (rows[2]["f1"], rows[2]["precision"], rows[2]["recall"]) == (None, None, None)
    assert rows[2]["predicted"] == 1 and rows[2]["group"] == "tail"
    names = per_label_scores(y, p, Decision(), ["甲", "乙", "丙"])
    assert [(row["id"], row["zh"]) for row in names] == [(0, "甲"), (1, "乙"), (2, "丙")]
    with pytest.raises(DataError):
        per_label_scores(y, p, Decision(), ["甲", "乙"])


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        (50, (10, 24, 16)),
        (44, (10, 20, 14)),
        (30, (10, 10, 10)),
        (12, (4, 4, 4)),
        (2, (1, 1, 0)),
        (1, (1, 0, 0)),
    ],
)
def test_group_sizes(labels: int, sizes: tuple[int, int, int]) -> None:
    groups = frequency_groups(np.arange(labels))
    assert tuple(groups.count(group) for group in ("head", "middle", "tail")) == sizes
    assert groups[-1] == "head"  # the most frequent


def test_groups_follow_frequency_and_ties_keep_their_order() -> None:
    assert frequency_groups([5, 100, 5, 1, 5, 0]) == ["head", "head", "middle", "tail", "middle", "tail"]


def test_every_set_is_scored_on_chapters_too() -> None:
    """Both labels in one chapter: each record has one, so the chapter is always true; HALF_RIGHT predicts it in two of four."""
    sets = {name: held_out(name) for name in ("standard", "noisy", "adversarial", "cross_site")}
    logits = {"standard": RIGHT, "noisy": HALF_RIGHT, "adversarial": -RIGHT, "cross_site": RIGHT}
    scores = score_sets(logits, sets, Decision(), chapters=("IX", "IX"))
    found = {name: values["chapter_macro_f1"] for name, values in scores.items()}
    assert found == {"standard": 1.0, "noisy": pytest.approx(2 / 3), "adversarial": 1.0, "cross_site": 1.0}
    assert scores["adversarial"]["macro_f1"] == 0.0  # always the other label of the right chapter
    without = score_sets(logits, sets, Decision())
    for name, values in without.items():
        assert values == {key: scores[name][key] for key in values}


def test_each_chapter_in_the_order_of_the_book() -> None:
    probabilities = Decision().probabilities(HALF_RIGHT)
    first, second = per_chapter_scores(Y, probabilities, Decision(), ("IX", "IV"))
    assert (first["chapter"], first["zh"], first["labels"]) == ("IV", "内分泌营养和代谢疾病", 1)
    assert (first["support"], first["predicted"], first["f1"]) == (2, 1, pytest.approx(2 / 3))
    assert second["chapter"] == "IX" and second["precision"] == 1.0 and second["recall"] == 0.5
    (only,) = per_chapter_scores(Y, probabilities, Decision(), ("", "IV"))
    assert only["chapter"] == "IV"
    absent = per_chapter_scores(Y & [True, False], probabilities, Decision(), ("IX", "IV"))[0]
    assert (absent["support"], absent["f1"]) == (0, None)
