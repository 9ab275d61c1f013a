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
            "standard": best["sets"]["standard"],
            "noisy": best["sets"]["noisy"],
            "cross_site": best["sets"]["cross_site"],
            "adversarial_transfer": best["sets"]["adversarial"],
            "adversarial": {
                **scores(0.551, 83, 0.643),
                "clean_macro_f1": 0.643,
                "attacked": 61,
                "succeeded": 23,
                "success_rate": 23 / 61,
                "queries_mean": 71.43,
                "budget": 107,
            },
        },
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
