"""`results.json`: every figure that a table or a page shows."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from emr_fl_server.app import Outcome
from emr_fl_server.federation import Federation

SCHEMA = 1


def build_results(
    federation: Federation,
    outcome: Outcome,
    adversarial: Mapping[str, Any] | None,
    *,
    cost: Mapping[str, Any],
    engine: str,
    sample_data: bool,
) -> dict[str, Any]:
    """The results of a finished federation, without baselines.

    `adversarial`: scores under the attack on the final model (`Evaluator.attack_final`); `cost`: what the caller measured
    around the rounds.
    """
    assert federation.evaluator is not None and federation.taxonomy is not None
    last, best = outcome.last, outcome.best
    entry = last.history[last.best_round - 1]
    sets = {
        ("adversarial_transfer" if name == "adversarial" else name): scores
        for name, scores in entry["sets"].items()
    }
    if adversarial is not None:
        sets["adversarial"] = dict(adversarial)
    settings = federation.settings
    detail = federation.evaluator.detail(best.tensors, best.decision)
    ids = {label.name: label for label in federation.taxonomy.labels}
    return {
        "schema": SCHEMA,
        "name": settings.federation.name,
        "seed": settings.seed,
        "rounds": last.round,
        "rounds_planned": federation.rounds,
        "best_round": last.best_round,
        "labels": len(federation.taxonomy.labels),
        "parameters": federation.evaluator.encoder.parameters,
        "model": settings.model.name,
        "standardise": settings.model.standardise,
        "taxonomy": settings.labels.taxonomy,
        "taxonomy_version": federation.taxonomy.version,
        "taxonomy_checksum": federation.taxonomy.checksum,
        "versions": {
            **{name: version(name) for name in ("emr-fl", "flwr", "torch", "transformers")},
            "python": platform.python_version(),
        },
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "engine": engine,
        "sample_data": sample_data,
        "decision": best.decision.to_json(),
        "validation": entry["validation"],
        "sets": sets,
        "sites": {
            name: {
                **{key: value for key, value in known.items() if key != "received"},
                "macro_f1": outcome.site_scores[name].macro_f1 if name in outcome.site_scores else None,
                "local_only_macro_f1": None,
            }
            for name, known in sorted(last.sites.items())
        },
        "cost": {**summed_cost(last.history), **cost},
        "baselines": {},
        "privacy": {
            "epsilon": None,
            "delta": None,
            "secure_aggregation": settings.privacy.secure_aggregation.mode if federation.masked else None,
        },
        "history": list(last.history),
        "per_label": [
            {
                **row,
                "id": ids[row["zh"]].id,
                "en": ids[row["zh"]].en,
                "chapter": ids[row["zh"]].chapter,
            }
            if row["zh"] in ids
            else row
            for row in detail["per_label"]
        ],
        "per_chapter": detail["per_chapter"],
        "reliability": detail["reliability"],
    }


def summed_cost(history: tuple[dict[str, Any], ...]) -> dict[str, float]:
    """Seconds and bytes over all rounds, resumed ones included."""
    total: dict[str, float] = {}
    for entry in history:
        for name, value in entry["cost"].items():
            total[name] = total.get(name, 0.0) + value
    rounds = max(1, len(history))
    total["bytes_up_per_round"] = round(total.pop("bytes_up", 0.0) / rounds)
    total["bytes_down_per_round"] = round(total.pop("bytes_down", 0.0) / rounds)
    return total
