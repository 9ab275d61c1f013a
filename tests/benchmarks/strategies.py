"""The strategies of `[aggregation]` beside each other on one sample federation: same records, same split, same initial weights.

python tests/benchmarks/strategies.py --out runs/strategies --records 1200 --rounds 10 --seed 0
python tests/benchmarks/strategies.py --out runs/strategies --only fedadam        the runs whose name begins so

One grid with one process a site for all runs; rounds that are done are not repeated. Plain training (no augmentation, no FreeLB); the
score is that of the validation set, by rounds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict

from emr_fl_deploy.cli import run as emr_fl
from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories, make_keys
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.console import RunConsole
from emr_fl_server.coordinator import make_federation
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_shared.config import Settings, load_settings, parse_assignments

RUNS: dict[str, tuple[str, ...]] = {
    "fedavg": (),
    "fedavg, int8": ("aggregation.payload=int8",),
    "fedavg, even": ("aggregation.weighting=even",),
    "fedavg, effective labels": ("aggregation.weighting=effective_labels",),
    "fedavg, balanced by federation": ("training.balance_by=federation",),
    "fedavg, ema .5": ("aggregation.ema=0.5",),
    "fedavg, ema .8": ("aggregation.ema=0.8",),
    **{f"fedprox, mu {mu}": (f"aggregation.fedprox.mu={mu}",) for mu in ("0.01", "0.1", "1.0")},
    **{
        f"fedavgm, momentum {beta}, rate {rate}": (
            f"aggregation.fedavgm.momentum={beta}",
            f"aggregation.fedavgm.learning_rate={rate}",
        )
        for beta, rate in (("0.3", "1.0"), ("0.5", "1.0"), ("0.9", "1.0"), ("0.9", "0.3"))
    },
    **{
        f"{name}, rate {rate}": (f"aggregation.adaptive.learning_rate={rate}",)
        for name, rates in (
            ("fedadam", ("0.003", "0.01", "0.03")),
            ("fedyogi", ("0.003", "0.01", "0.03")),
            ("fedadagrad", ("0.003", "0.01", "0.03")),
        )
        for rate in rates
    },
    "scaffold": (),
    "scaffold, int8": ("aggregation.payload=int8",),
}


def resolved(given: argparse.Namespace, data: Path, assignments: tuple[str, ...]) -> Settings:
    """The settings of one run: plain training, every site's policy open for what the strategies ask."""
    sites = [path.stem for path in sorted((data / "sites").glob("*.csv"))]
    shares = [
        f"sites.{site}.policy.{key}=true"
        for site in sites
        for key in ("share_controls", "share_label_counts")
    ]
    common = (
        "model.name=tiny",
        "training.augmentation.enabled=false",
        "training.adversarial.method=none",
        "evaluation.adversarial.texts=0",
        "federation.patience=0",
        f"federation.rounds={given.rounds}",
        f"seed={given.seed}",
    )
    overrides = parse_assignments([*common, *shares, *assignments])
    loaded = load_settings(data / "federation.toml", overrides=overrides)
    return loaded.with_paths_from(data.resolve()).resolved()


def row(name: str, history: tuple[dict[str, Any], ...]) -> str:
    scores = [100 * entry["validation"]["macro_f1"] for entry in history]
    up = sum(entry["cost"]["bytes_up"] for entry in history) / len(history) / 1e6
    cells = [f"{scores[len(scores) // 2 - 1]:.1f}", f"{scores[-1]:.1f}", f"{max(scores):.1f}", f"{up:.1f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--records", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1, help="sites that train at a time")
    parser.add_argument("--only", nargs="+", default=[""])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    data = given.out / "data"
    synth = ["data", "synth", "--out", str(data), "--records", str(given.records), "--seed", str(given.seed)]
    if not data.is_dir() and emr_fl(synth) != 0:
        sys.exit(1)
    base = resolved(given, data, ())
    make_keys(base.sites, given.out)
    held_out = HeldOutSets(base)
    console = RunConsole()
    rows = []
    with InProcessGrid(factories(base, given.out), parallel=given.parallel, threads=1) as grid:
        for name in (name for name in RUNS if name.startswith(tuple(given.only))):
            settings = resolved(given, data, (f"aggregation.strategy={name.partition(',')[0]}", *RUNS[name]))
            folder = given.out / name.replace(", ", "-").replace(" ", "-")
            outcomes: list[Outcome] = []
            app = server_app(
                make_federation(settings, folder, held_out), console.observer(name), outcomes.append
            )
            app(grid, Context(grid.run.run_id, 0, {}, RecordDict(), {}))
            rows.append(row(name, outcomes[0].last.history))
            print(rows[-1], flush=True)
    print(
        f"\n{given.records} training records, {given.rounds} rounds, seed {given.seed}; validation macro-F1 %\n"
    )
    print("| run | half of the rounds | last round | best | MB up a round |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
