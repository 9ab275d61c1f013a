"""From settings to a federation, and from its outcome to the run folder: the same for a simulation and for real sites."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.app import Outcome
from emr_fl_server.evaluation.errors import confident_errors
from emr_fl_server.evaluation.evaluator import Evaluator, FinalScores
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.federation import Federation, as_json
from emr_fl_server.report import model_card, write_report
from emr_fl_server.report.errors import write_errors
from emr_fl_server.report.reading import RESULTS
from emr_fl_server.results import add_final, build_results
from emr_fl_shared.chain import Signer
from emr_fl_shared.config import Settings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.memory import peak_rss_mb
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.precision import choose_device, choose_precision
from emr_fl_shared.model.storage import CARD_FILE, save_model
from emr_fl_shared.model.tensors import load_tensors


def make_federation(
    settings: Settings, folder: Path, held_out: HeldOutSets, signer: Signer | None = None
) -> Federation:
    """The federation of `settings` in run folder `folder`; its evaluator is built when the labels are agreed. `signer` signs its audit
    log."""

    def make_evaluator(taxonomy: Taxonomy) -> Evaluator:
        validation, sets = held_out.sets(taxonomy)
        encoder = build_model(
            settings.model.name, taxonomy.names, max_length=settings.model.max_length, seed=settings.seed
        )
        encoder.standardise = settings.model.standardise
        device = choose_device(settings.training.device)
        encoder.model.to(device)
        return Evaluator(
            encoder,
            validation,
            sets,
            threshold=settings.evaluation.threshold,
            threshold_shrinkage=settings.evaluation.threshold_shrinkage,
            batch_size=settings.evaluation.batch_size,
            precision=choose_precision("auto", device, encoder.parameters),
            chapters=taxonomy.chapters,
        )

    return Federation(settings, folder, make_evaluator, held_out.labels, run=folder.name, signer=signer)


def attack_final(federation: Federation, outcome: Outcome) -> dict[str, Any] | None:
    """Scores of the best round's model under attack; `None` where that is switched off."""
    assert federation.evaluator is not None
    settings = federation.settings.evaluation.adversarial
    if settings.texts == 0:
        return None
    return federation.evaluator.attack_final(outcome.best.tensors, outcome.best.decision, settings)


def finish(
    federation: Federation,
    outcome: Outcome,
    held_out: HeldOutSets,
    *,
    began: float,
    engine: str,
    sample_data: bool,
) -> dict[str, Any]:
    """Attack and examine the final model and gather the results. `began` is `time.monotonic()` at the start of the run."""
    at = time.monotonic()
    adversarial = attack_final(federation, outcome)
    results = build_results(
        federation,
        outcome,
        adversarial,
        cost={"wall_s": 0.0, "server_peak_rss_mb": peak_rss_mb()},
        engine=engine,
        sample_data=sample_data,
    )
    add_final(results, federation, _final_scores(federation, outcome, held_out))
    cost = results["cost"]
    # scoring outside the rounds: the sets made, each site's own scores, the attack, and all that is asked of the final model alone
    cost["evaluate_s"] += held_out.seconds + outcome.site_scores_s + time.monotonic() - at
    # what earlier processes of a resumed run spent on the rounds that they completed
    earlier = outcome.last.history[: outcome.last.resumed_at]
    parts = ("train_wall_s", "aggregate_s", "evaluate_s")
    cost["wall_s"] = (
        sum(entry["cost"][part] for entry in earlier for part in parts) + time.monotonic() - began
    )
    cost["sites_peak_rss_mb"] = max((site["peak_rss_mb"] for site in results["sites"].values()), default=0.0)
    return results


def _final_scores(federation: Federation, outcome: Outcome, held_out: HeldOutSets) -> FinalScores:
    assert federation.evaluator is not None and federation.taxonomy is not None
    return federation.evaluator.final(
        outcome.best.tensors,
        outcome.best.decision,
        federation.settings.evaluation,
        held_out.standard_as_typed(federation.taxonomy),
    )


def decisions(federation: Federation, outcome: Outcome) -> dict[str, NDArray[np.bool_]]:
    """What the best round's model decides, by held-out set: bool [n, K]."""
    assert federation.evaluator is not None
    return federation.evaluator.decisions(outcome.best.tensors, outcome.best.decision)


def write_outcome(folder: Path, federation: Federation, outcome: Outcome, results: Mapping[str, Any]) -> None:
    """The model folder, then `results.json`, then the page; with `evaluation.explain` also the page of errors."""
    assert federation.evaluator is not None and federation.taxonomy is not None
    encoder = federation.evaluator.encoder
    load_tensors(encoder.model, outcome.best.tensors)
    save_model(folder / "model", encoder, federation.taxonomy, outcome.best.decision, model_card(results))
    write_results(folder, results)
    if federation.settings.evaluation.explain:
        standard = federation.evaluator.sets["standard"]
        probabilities = outcome.best.decision.probabilities(federation.evaluator.logits(standard))
        errors = confident_errors(encoder, standard, probabilities, outcome.best.decision)
        write_errors(folder, federation.settings.federation.name, errors, federation.taxonomy)


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """`results.json` and the page made from it."""
    write_durably(folder / RESULTS, [as_json(results).encode()])
    write_report(folder)


def write_card(folder: Path, results: Mapping[str, Any]) -> None:
    """The model's card again, once more figures stand beside the model."""
    write_durably(folder / "model" / CARD_FILE, [model_card(results).encode()])


def is_sample(settings: Settings) -> bool:
    """Whether every file lies in a folder that `emr-fl data synth` made (it leaves `truth/identifiers.jsonl` there)."""
    paths = [site.source for site in settings.sites.values() if site.source]
    paths += [path for _, path in settings.evaluation.sets if path]
    roots = {Path(path).parent.parent for path in paths}
    return bool(roots) and all((root / "truth" / "identifiers.jsonl").is_file() for root in roots)
