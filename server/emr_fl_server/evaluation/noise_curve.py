"""Scores over kinds and strengths of noise, so that robustness is a curve and not one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from emr_fl_server.evaluation.scoring import intervals
from emr_fl_server.evaluation.sets import HeldOutSet, subset
from emr_fl_shared.config.settings import NoiseCurve
from emr_fl_shared.metrics import Decision, macro_f1, relative_drop
from emr_fl_shared.text.guard import Guard
from emr_fl_shared.text.noise import KINDS, VERSION, noise_of_kind


def noise_curve(
    predict: Callable[[Sequence[str]], NDArray[Any]],
    standard: HeldOutSet,
    decision: Decision,
    settings: NoiseCurve,
) -> dict[str, Any] | None:
    """{version, seed, n, macro_f1, macro_f1_interval, points}; `None` where it is switched off.

    `predict`: logits [n, K] of texts as they were typed. All points are of the same `settings.texts` texts of `standard`;
    `macro_f1` is theirs without noise. A point: {kind, strength, touched, macro_f1, macro_f1_interval, drop}; `strength` is
    the share of characters asked for, `touched` the share found to touch.
    """
    if settings.texts == 0 or not settings.strengths:
        return None
    chosen = subset(standard, settings.texts, settings.seed)

    def scored(texts: Sequence[str]) -> dict[str, Any]:
        decided = decision.decide(decision.probabilities(predict(texts)))
        return {
            "macro_f1": macro_f1(chosen.y, decided),
            "macro_f1_interval": intervals(chosen, decided, seed=settings.seed)["macro_f1_interval"],
        }

    clean = scored(chosen.texts)
    guard = Guard(remember=0)
    analyses = [guard.read(text) for text in chosen.texts]
    points: list[dict[str, Any]] = []
    for kind in KINDS:
        for strength in settings.strengths:
            noisy, touched = noise_of_kind(analyses, kind, rate=strength, seed=settings.seed)
            scores = scored(noisy)
            drop = relative_drop(clean["macro_f1"], scores["macro_f1"])
            points.append({"kind": kind, "strength": strength, "touched": touched, **scores, "drop": drop})
    return {"version": VERSION, "seed": settings.seed, "n": len(chosen), **clean, "points": points}
