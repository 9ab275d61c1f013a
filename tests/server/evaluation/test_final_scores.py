"""What is asked of the final model alone: intervals, noise curve, comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from emr_fl_server.evaluation.comparing import compare
from emr_fl_server.evaluation.evaluator import Evaluator
from emr_fl_server.evaluation.noise_curve import noise_curve
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.config.settings import Evaluation, Fairness, NoiseCurve
from emr_fl_shared.metrics import Decision, f1_intervals, macro_f1, paired_differences
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tensors import tensors_of
from emr_fl_shared.model.tiny import TinyShape
from emr_fl_shared.text.noise import KINDS, make_noisy

LABELS = ("咳嗽", "腹痛", "头晕")


def notes(name: str, seed: int, n: int = 40) -> HeldOutSet:
    draw = np.random.default_rng(seed)
    y = draw.random((n, 3)) < (0.6, 0.3, 0.2)
    texts = ["，".join([*(LABELS[k] for k in np.flatnonzero(row)), "活动后明显，夜间为著。"]) for row in y]
    sexes = ["male" if number % 2 else "female" for number in range(n)]
    return HeldOutSet(name, texts, y, [f"p{number // 2}" for number in range(n)], {"sex": sexes})


def word_spotter(texts: list[str]) -> np.ndarray:
    """Logits of a model that finds a label where its word stands."""
    return np.array([[4.0 if label in text else -4.0 for label in LABELS] for text in texts])


def test_the_curve_by_hand() -> None:
    standard = notes("standard", 1)
    settings = NoiseCurve(texts=40, strengths=[0.1, 0.3], seed=5)
    curve = noise_curve(word_spotter, standard, Decision(), settings)
    assert curve is not None
    assert (curve["n"], curve["seed"], curve["macro_f1"]) == (40, 5, 1.0)
    assert [(point["kind"], point["strength"]) for point in curve["points"]] == [
        (kind, strength) for kind in KINDS for strength in (0.1, 0.3)
    ]
    found = {(point["kind"], point["strength"]): point for point in curve["points"]}
    decided = Decision().decide(
        Decision().probabilities(word_spotter(make_noisy(standard.texts, rate=0.3, seed=5)))
    )
    mixed = found["mixed", 0.3]
    assert mixed["macro_f1"] == pytest.approx(macro_f1(standard.y, decided))
    assert mixed["drop"] == pytest.approx(1 - mixed["macro_f1"])
    interval = f1_intervals(standard.y, decided, seed=5, patients=standard.clusters)["macro_f1"]
    assert mixed["macro_f1_interval"] == [interval.low, interval.high]
    assert found["deletion", 0.3]["macro_f1"] < found["deletion", 0.1]["macro_f1"] < 1.0
    assert found["template", 0.3]["macro_f1"] == 1.0, "debris between clauses leaves the words"
    assert all(0 < point["touched"] < 0.5 for point in curve["points"] if point["kind"] != "abbreviation")


@pytest.mark.parametrize("settings", [NoiseCurve(texts=0), NoiseCurve(strengths=[])])
def test_no_curve_where_it_is_switched_off(settings: NoiseCurve) -> None:
    assert noise_curve(word_spotter, notes("standard", 1), Decision(), settings) is None


def test_the_curve_reads_at_most_as_many_texts_as_are_wanted() -> None:
    seen: list[int] = []

    def counting(texts: list[str]) -> np.ndarray:
        seen.append(len(texts))
        return word_spotter(texts)

    noise_curve(counting, notes("standard", 1), Decision(), NoiseCurve(texts=7, strengths=[0.1]))
    assert seen == [7] * (1 + len(KINDS))


def test_final_scores_of_a_real_model() -> None:
    shape = TinyShape(hidden=32, layers=1, heads=2, intermediate=32)
    encoder = build_model("tiny", LABELS, max_length=32, seed=0, shape=shape)
    standard = notes("standard", 2)
    made = Evaluator(encoder, notes("validation", 1), {"standard": standard, "noisy": notes("noisy", 3)})
    tensors, decision = tensors_of(encoder.model), Decision("threshold", 0.45)
    settings = Evaluation(
        noise_curve=NoiseCurve(texts=10, strengths=[0.1]), fairness=Fairness(smallest_count=5)
    )
    final = made.final(tensors, decision, settings, standard)
    decided = made.decisions(tensors, decision)
    assert set(decided) == set(final.intervals) == {"standard", "noisy"}
    for name, held in made.sets.items():
        expected = f1_intervals(held.y, decided[name], seed=2026, patients=held.clusters)["macro_f1"]
        assert final.intervals[name]["macro_f1_interval"] == [expected.low, expected.high]
    assert [entry["by"] for entry in final.fairness["standard"]] == ["sex"]
    assert final.noise_curve is not None and final.noise_curve["n"] == 10
    off = Evaluation(noise_curve=NoiseCurve(texts=0), fairness=Fairness(enabled=False))
    without = made.final(tensors, decision, off, standard)
    assert (without.fairness, without.noise_curve) == ({}, None)


def test_comparisons_are_corrected_for_their_number() -> None:
    sets = {"standard": notes("standard", 1), "noisy": notes("noisy", 2)}
    ours = {name: held.y for name, held in sets.items()}
    flipped = {name: held.y ^ (np.arange(len(held)) % 3 == 0)[:, None] for name, held in sets.items()}
    rows = compare(sets, ours, {"plain": flipped, "tfidf": {"standard": ours["standard"]}}, seed=4)
    assert [(row["against"], row["set"], row["measure"]) for row in rows] == [
        ("plain", "standard", "macro_f1"),
        ("plain", "standard", "micro_f1"),
        ("plain", "noisy", "macro_f1"),
        ("plain", "noisy", "micro_f1"),
        ("tfidf", "standard", "macro_f1"),
        ("tfidf", "standard", "micro_f1"),
    ]
    expected = paired_differences(
        sets["noisy"].y, ours["noisy"], flipped["noisy"], seed=4, patients=sets["noisy"].clusters
    )["micro_f1"]
    assert rows[3]["difference"] == expected.interval.estimate and rows[3]["p"] == expected.p
    assert rows[0]["p_holm"] == pytest.approx(6 * rows[0]["p"])
    assert rows[4]["p_holm"] == rows[4]["p"] == 1.0
