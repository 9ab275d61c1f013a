"""What the evaluation of the final model costs, part by part, on the sets and the model of a finished run.

`python tests/benchmarks/evaluation_cost.py RUN` (a run folder with `settings.toml`, `results.json` and `model/`); one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from emr_fl_server.evaluation.evaluator import Evaluator
from emr_fl_server.evaluation.fairness import FAIRNESS_SETS, fairness
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.evaluation.noise_curve import noise_curve
from emr_fl_server.evaluation.scoring import intervals
from emr_fl_shared.config import settings_from
from emr_fl_shared.config.loading import read_toml
from emr_fl_shared.model.precision import choose_precision
from emr_fl_shared.model.storage import load_model
from emr_fl_shared.model.tensors import tensors_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = settings_from(read_toml(options.run / "settings.toml"), where="settings.toml")
    results = json.loads((options.run / "results.json").read_text(encoding="utf-8"))
    saved = load_model(options.run / "model")
    held_out = HeldOutSets(settings)
    validation, sets = held_out.sets(saved.labels)
    typed = held_out.standard_as_typed(saved.labels)
    evaluator = Evaluator(
        replace(saved.encoder, max_length=settings.model.max_length),
        validation,
        sets,
        precision=choose_precision("auto", torch.device("cpu"), saved.encoder.parameters),
        chapters=saved.labels.chapters,
    )
    tensors, decision, given = tensors_of(saved.encoder.model), saved.decision, settings.evaluation
    evaluator.score(tensors, single_label=decision.kind == "argmax")  # tokenises
    decided = evaluator.decisions(tensors, decision)

    def timed(name: str, work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        seconds = time.process_time() - began
        print(f"| {name} | {seconds:.2f} |", flush=True)
        return seconds

    sizes = ", ".join(f"{name} {len(held)}" for name, held in sets.items())
    training = results["cost"]["train_s"] / max(1, results["rounds"])
    print(f"{sizes}; {saved.encoder.parameters} parameters; training {training:.0f} s a round, all sites\n")
    print("| part | CPU seconds |\n|---|---|")
    single = decision.kind == "argmax"
    timed("every round: scores of all sets", lambda: evaluator.score(tensors, single_label=single))
    before = timed("end, as before: scores by label", lambda: evaluator.detail(tensors, decision))
    before += timed("end, as before: attack", lambda: evaluator.attack(decision, given.adversarial))
    seed = given.bootstrap_seed
    added = timed("end, new: decisions", lambda: evaluator.decisions(tensors, decision))
    added += timed(
        "end, new: intervals",
        lambda: [intervals(held, decided[name], seed=seed) for name, held in sets.items()],
    )
    added += timed(
        "end, new: fairness",
        lambda: [
            fairness(sets[name], decided[name], smallest=given.fairness.smallest_count, seed=seed)
            for name in FAIRNESS_SETS
            if name in sets
        ],
    )
    added += timed(
        "end, new: noise curve", lambda: noise_curve(evaluator.of_texts, typed, decision, given.noise_curve)
    )
    print(
        f"\nat the end: {before:.1f} s before, {added:.1f} s added ({added / training:.0%} of a round's training)"
    )


if __name__ == "__main__":
    main()
