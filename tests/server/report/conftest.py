"""Results as a finished run writes them, made by code; and the page taken apart again."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from page_tree import Node, parse_page

Results = dict[str, Any]


def make_results(*, labels: int = 12, rounds: int = 6, sites: int = 4, seed: int = 3) -> Results:
    """Everything that `results.json` can hold."""
    draw = random.Random(seed)
    names = [f"hospital-{chr(97 + index)}" for index in range(sites)]

    def scores(macro: float, n: int, clean: float | None = None) -> Results:
        found: Results = {
            "n": n,
            "macro_f1": macro,
            "micro_f1": macro + 0.0512,
            "weighted_f1": macro + 0.0411,
            "head_f1": macro + 0.0613,
            "middle_f1": macro + 0.0017,
            "tail_f1": macro - 0.0619,
            "subset_accuracy": macro - 0.1213,
            "brier": macro / 37,
            "ece_mass": macro / 11,
            "ece_labelwise_mass": macro / 101,
            "pr_auc_macro": macro + 0.0233,
            "ece": draw.uniform(0.01, 0.09),
            "ece_labelwise": draw.uniform(0.001, 0.009),
            "labels_absent": 0,
            "chapter_macro_f1": macro + 0.0721,
            "chapter_micro_f1": macro + 0.0934,
            "chapters_absent": 1,
        }
        return {**found, "drop": (clean - macro) / clean} if clean else found

    def history(top: float) -> list[Results]:
        found = []
        for number in range(1, rounds + 1):
            macro = top * (1 - math.exp(-number / 2)) + draw.uniform(-0.004, 0.004)
            refused = {names[-1]: "norm 41.2 is 12.3 times the median"} if number == 2 and sites > 1 else {}
            found.append(
                {
                    "round": number,
                    "sites": [name for name in names if name not in refused],
                    "refused": refused,
                    "loss": 0.9 / number,
                    "validation": scores(macro - 0.01, 137),
                    "sets": {
                        "standard": scores(macro, 541),
                        "noisy": scores(macro * 0.94, 541, macro),
                        "adversarial": scores(macro * 0.8, 83, macro),
                        "cross_site": scores(macro * 0.88, 229, macro),
                    },
                    "decision": {
                        "kind": "threshold",
                        "threshold": draw.uniform(0.2, 0.4),
                        "temperature": 1.113,
                    },
                    "best": True,
                    "cost": {
                        "train_wall_s": draw.uniform(60, 80),
                        "aggregate_s": 0.213,
                        "evaluate_s": 2.71,
                        "train_s": draw.uniform(100, 200),
                        "bytes_up": 21_648_713 + number,
                        "bytes_down": 21_640_102,
                    },
                }
            )
        return found

    rows = history(0.67)
    best = rows[-1]
    per_label = []
    for index in range(labels):
        support = max(1, round(400 / (index + 1)))
        group = "head" if index < labels / 5 else "middle" if index < labels / 2 else "tail"
        f1 = draw.uniform(0.2, 0.95)
        per_label.append(
            {
                "id": index + 1,
                "zh": f"第{index + 1}类",
                "en": f"Category {index + 1}",
                "support": support,
                "f1": f1,
                "precision": f1 * 0.97,
                "recall": min(1.0, f1 * 1.02),
                "pr_auc": f1 * 0.93,
                "ece": f1 / 67,
                "ece_mass": f1 / 71,
                "brier": f1 / 43,
                "group": group,
            }
        )
    reliability = []
    for index in range(10):
        filled = index > 0
        reliability.append(
            {
                "low": index / 10,
                "high": (index + 1) / 10,
                "n": 13 * index,
                "confidence": index / 10 + 0.047 if filled else None,
                "accuracy": index / 10 + draw.uniform(0, 0.1) if filled else None,
            }
        )
    cost = {
        name: sum(row["cost"][name] for row in rows)
        for name in ("train_wall_s", "aggregate_s", "evaluate_s", "train_s")
    }

    def baseline(a: float, b: float) -> Results:
        return {"standard": scores(a, 541), "noisy": scores(b, 541, a), "cross_site": scores(a - 0.1, 229, a)}

    def with_intervals(scores: Results) -> Results:
        ends = {
            f"{name}_interval": [scores[name] - 0.0213, scores[name] + 0.0227]
            for name in ("macro_f1", "micro_f1", "weighted_f1")
        }
        return {**scores, **ends}

    def dimension(by: str, names: list[str]) -> Results:
        groups = [
            {"group": name, "n": 311 // (at + 1), "patients": 207 // (at + 1), "labels": labels}
            | {"macro_f1": 0.61 - 0.031 * at, "micro_f1": 0.67 - 0.021 * at}
            for at, name in enumerate(names)
        ]
        for group in groups:
            group |= {
                f"{name}_interval": [group[name] - 0.0317, group[name] + 0.0329]
                for name in ("macro_f1", "micro_f1")
            }
        gap = {
            name: {
                "difference": groups[0][name] - groups[-1][name],
                "interval": [-0.0123, 0.1457],
                "best": names[0],
                "worst": names[-1],
            }
            for name in ("macro_f1", "micro_f1")
        }
        return {"by": by, "merged": 2 if "other" in names else 0, "groups": groups, "gap": gap}

    kinds = [
        "sound",
        "shape",
        "deletion",
        "insertion",
        "abbreviation",
        "colloquial",
        "width",
        "template",
        "mixed",
    ]
    points = [
        {"kind": kind, "strength": strength, "touched": strength * 0.93, "macro_f1": score}
        | {"macro_f1_interval": [score - 0.0371, score + 0.0383], "drop": 1 - score / 0.6512}
        for at, kind in enumerate(kinds)
        for strength in (0.05, 0.1, 0.2)
        for score in [0.6512 - strength * (0.3 + 0.19 * at)]
    ]
    comparisons = [
        {"against": against, "set": name, "measure": measure, "difference": 0.0312}
        | {"interval": [0.0112, 0.0531], "p": 0.00312, "p_holm": 0.0374}
        for against in ("federated_plain", "tfidf_balanced_pooled")
        for name in ("standard", "noisy", "cross_site")
        for measure in ("macro_f1", "micro_f1")
    ]
    return {
        "schema": 1,
        "name": "outpatient-test",
        "seed": 20260,
        "rounds": rounds,
        "rounds_planned": rounds + 2,
        "best_round": rounds,
        "labels": labels,
        "parameters": 1_352_370,
        "model": "tiny",
        "versions": {"emr-fl": "0.1.0", "flwr": "1.41.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "taxonomy": "outpatient-50",
        "created": "2026-03-02T14:05:31+0800",
        "sample_data": True,
        "engine": "local",
        "decision": best["decision"],
        "validation": best["validation"],
        "sets": {
            "standard": with_intervals(best["sets"]["standard"]),
            "noisy": with_intervals(best["sets"]["noisy"]),
            "cross_site": with_intervals(best["sets"]["cross_site"]),
            "adversarial_transfer": with_intervals(best["sets"]["adversarial"]),
            "adversarial": {
                **with_intervals(scores(0.551, 83, 0.643)),
                "clean_macro_f1": 0.643,
                "attacked": 61,
                "succeeded": 23,
                "success_rate": 23 / 61,
                "queries_mean": 71.43,
                "budget": 107,
            },
        },
        "bootstrap": {"resamples": 1001, "level": 0.95, "seed": 2026},
        "noise_curve": {"version": 7, "seed": 20267, "n": 397, "macro_f1": 0.6512}
        | {"macro_f1_interval": [0.6213, 0.6821], "points": points},
        "fairness": {
            "smallest_count": 23,
            "sets": {
                "standard": [
                    dimension("sex", ["female", "male"]),
                    dimension("age", ["15-44", "60-74", "other"]),
                    dimension("department", ["心内科", "神经内科", "普外科", "other"]),
                ],
                "cross_site": [dimension("sex", ["male", "female"])],
            },
        },
        "comparisons": comparisons,
        "history": rows,
        "per_label": per_label,
        "per_chapter": [
            {
                "chapter": "IV",
                "zh": "第四章",
                "en": "Chapter four",
                "labels": 3,
                "support": 211,
                "predicted": 190,
            }
            | {"f1": 0.7123, "precision": 0.7512, "recall": 0.6772},
            {"chapter": "IX", "zh": "第九章", "en": "Chapter nine", "labels": 5, "support": 0, "predicted": 2}
            | {"f1": None, "precision": None, "recall": None},
        ],
        "reliability": reliability,
        "sites": {
            name: {
                "n_train": 2600 // (index + 1),
                "n_validation": 290 // (index + 1),
                "macro_f1": 0.61 * 0.98**index,
                "local_only_macro_f1": None,
                "tfidf_local": {
                    "standard": scores(0.41 * 0.97**index, 541),
                    "noisy": scores(0.39 * 0.97**index, 541),
                },
                "train_s": 4123.4 / (index + 1),
                "rounds": rounds - (index == sites - 1),
                "device": "cpu",
                "precision": "bf16",
                "peak_rss_mb": 693.4 + index,
            }
            for index, name in enumerate(names)
        },
        "cost": {
            "wall_s": cost["train_wall_s"] + cost["evaluate_s"] + 60.0,
            **cost,
            "baselines_s": 121.3,
            "bytes_up_per_round": 21_648_716,
            "bytes_down_per_round": 21_640_102,
            "server_peak_rss_mb": 1240.2,
            "sites_peak_rss_mb": 701.9,
        },
        "baselines": {
            "tfidf_balanced_pooled": baseline(0.652, 0.643),
            "tfidf_balanced_local": baseline(0.388, 0.366),
            "federated_plain": {
                **baseline(0.611, 0.558),
                "adversarial": scores(0.468, 83, 0.6),
                "history": history(0.61),
                "cost": {"train_s": 607.2},
            },
        },
        "privacy": {"epsilon": None, "delta": None},
    }


@pytest.fixture
def results() -> Results:
    return make_results()


@pytest.fixture
def results_of() -> Callable[..., Results]:
    return make_results


@pytest.fixture
def parsed() -> Callable[[str], Node]:
    return parse_page


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[[Results], Path]:
    """Writes results into a run folder."""

    def write(results: Results) -> Path:
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        (run / "results.json").write_text(
            json.dumps(copy.deepcopy(results), ensure_ascii=False), encoding="utf-8"
        )
        return run

    return write
