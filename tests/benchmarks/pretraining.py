"""Whether pretraining pays: `python tests/benchmarks/pretraining.py FEDERATION.toml --seeds 0 1 2 --pretraining 5`.

The same federation of the settings file (as `emr-fl data synth` writes one) with and without rounds of masked language modelling, paired by
seed, in this process's grid; macro-F1 of the best round on the standard and the noisy set, and what the rounds cost. `--rounds` are the rounds
of classification in both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict

from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories, make_keys
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.coordinator import make_federation
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_shared.config import Settings, load_settings


class Quiet:
    """An observer that keeps the validation figures of the rounds of pretraining."""

    def __init__(self) -> None:
        self.masked: list[float] = []

    def round_ended(self, entry: dict[str, Any]) -> None:
        if "masked_accuracy" in entry["validation"]:
            self.masked.append(entry["validation"]["masked_accuracy"])

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


def run(settings: Settings, folder: Path) -> tuple[dict[str, float], list[float]]:
    """Scores of the best round by set, with the seconds of everything, and the share of masked tokens filled in after each round."""
    make_keys(settings.sites, folder)
    outcomes: list[Outcome] = []
    observer = Quiet()
    began = time.monotonic()
    with InProcessGrid(factories(settings, folder), parallel=1, threads=1) as grid:
        app = server_app(make_federation(settings, folder, HeldOutSets(settings)), observer, outcomes.append)
        app(grid, Context(grid.run.run_id, 0, {}, RecordDict(), {}))
    last = outcomes[0].last
    sets = last.history[last.best_round - 1]["sets"]
    scores = {name: 100.0 * sets[name]["macro_f1"] for name in ("standard", "noisy")}
    return {**scores, "seconds": time.monotonic() - began}, observer.masked


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pretraining", type=int, default=5)
    arguments = parser.parse_args()
    differences: dict[str, list[float]] = {"standard": [], "noisy": []}
    for seed in arguments.seeds:
        found = {}
        for rounds in (0, arguments.pretraining):
            overrides = {
                "seed": seed,
                "federation": {"rounds": arguments.rounds, "patience": 0},
                "model": {"name": "tiny"},
                "pretraining": {"rounds": rounds},
                "evaluation": {"adversarial": {"texts": 0}},
            }
            given = load_settings(arguments.settings, overrides=overrides)
            given = given.with_paths_from(arguments.settings.resolve().parent).resolved()
            open_sites = {
                name: site.model_copy(
                    update={"policy": site.policy.model_copy(update={"share_language_model": True})}
                )
                for name, site in given.sites.items()
            }
            with tempfile.TemporaryDirectory() as folder:
                found[rounds], masked = run(given.model_copy(update={"sites": open_sites}), Path(folder))
            filled = f"  masked tokens filled in {masked[0]:.3f} → {masked[-1]:.3f}" if masked else ""
            print(
                f"seed {seed}  pretraining {rounds:>2}: "
                + "  ".join(f"{name} {value:.1f}" for name, value in found[rounds].items())
                + filled,
                flush=True,
            )
        for name, values in differences.items():
            values.append(found[arguments.pretraining][name] - found[0][name])
    for name, values in differences.items():
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        print(f"{name}: {statistics.mean(values):+.1f}{spread} (n = {len(values)})")


if __name__ == "__main__":
    main()
