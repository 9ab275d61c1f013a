"""`results.json`: every figure that a table or a page shows."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from emr_fl_server.app import Outcome
from emr_fl_server.central_budget import ACCOUNTANT, UNIT
from emr_fl_server.evaluation.evaluator import FinalScores
from emr_fl_server.federation import Federation, FederationState
from emr_fl_shared.metrics.bootstrap import LEVEL, RESAMPLES

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
    sets = {_final_name(name): scores for name, scores in entry["sets"].items()}
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
        "privacy": privacy_spent(federation, last),
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


def privacy_spent(federation: Federation, last: FederationState) -> dict[str, Any]:
    """What was spent by the end, and of what; ε and δ are None where the sites trained without differential privacy.

    `epsilon`: the largest of the sites'. A site's ledger may say more, for rounds whose update got lost.
    """
    wish = federation.settings.privacy.dp
    spent: dict[str, Any] = {"epsilon": None, "delta": None}
    if wish.enabled:
        sites = [known["epsilon"] for known in last.sites.values() if "epsilon" in known]
        spent = {
            "epsilon": max(sites, default=None),
            "delta": wish.delta,
            "unit": wish.unit,
            "accountant": wish.accountant,
            "target_epsilon": wish.target_epsilon,
            "clipping_norm": wish.clipping_norm,
        }
        if wish.unit == "patient":
            spent["records_per_patient"] = wish.records_per_patient
    if (budget := federation.central_budget) is not None:
        central = federation.settings.privacy.central
        spent["central"] = {
            "epsilon": budget.epsilon(),
            "delta": central.delta,
            "unit": UNIT,
            "accountant": ACCOUNTANT,
            "clipping_norm": central.clipping_norm,
        }
    return spent


def _final_name(name: str) -> str:
    """In the results of the final model, `adversarial` is the attack on it; the rounds' fixed set has another name."""
    return "adversarial_transfer" if name == "adversarial" else name


def add_final(results: dict[str, Any], federation: Federation, final: FinalScores) -> None:
    """Put what was asked of the final model alone into its results: intervals, `bootstrap`, `fairness`, `noise_curve`."""
    evaluation = federation.settings.evaluation
    results["bootstrap"] = {"resamples": RESAMPLES, "level": LEVEL, "seed": evaluation.bootstrap_seed}
    for name, found in final.intervals.items():
        results["sets"][_final_name(name)] |= found
    if evaluation.fairness.enabled:
        smallest = evaluation.fairness.smallest_count
        results["fairness"] = {"smallest_count": smallest, "sets": final.fairness}
    if final.noise_curve is not None:
        results["noise_curve"] = final.noise_curve


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
