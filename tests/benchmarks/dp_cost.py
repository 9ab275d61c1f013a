"""What differential privacy costs: macro-F1 and time at ε = 1, 3, 8 and without noise, on the sample federation, over several seeds.

python tests/benchmarks/dp_cost.py --out runs/dp --seeds 0 1 2                        runs what is missing, prints the table
python tests/benchmarks/dp_cost.py --out runs/dp --seeds 0 --records 300 --rounds 2   a small one
python tests/benchmarks/dp_cost.py --out runs/dp --table                              prints it from what is there

`none` trains with the same settings and without privacy (what is refused under it is off there, too), so that the difference is that of
clipping, noise and Poisson sampling; `default` is the federation as it is set by default. Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sample_federation import read, spread

EPSILONS = ("1", "3", "8")
SETS = ("standard", "noisy", "cross_site")
ALIKE = ("training.balance=0.0", "training.mask_absent_labels=false", "training.adversarial.top_loss=1.0")


def settings_of(arm: str, arguments: argparse.Namespace) -> list[str]:
    """What is set for an arm: `default`, `none` or an ε."""
    if arm == "default":
        return []
    settings = [*ALIKE, f"training.batch_size={arguments.batch_size}"]
    if arm != "none":
        settings += [
            "privacy.dp.enabled=true",
            f"privacy.dp.target_epsilon={arm}",
            f"privacy.dp.delta={arguments.delta}",
            f"privacy.dp.unit={arguments.unit}",
            f"privacy.dp.accountant={arguments.accountant}",
        ]
    return settings


def run(arm: str, seed: int, arguments: argparse.Namespace) -> None:
    """One federation, or what is left of it."""
    from emr_fl_deploy.cli import run as emr_fl

    folder = arguments.out / arm / str(seed)
    if (folder / "results.json").is_file():
        return
    options = ["--resume"]
    if not (folder / "settings.toml").is_file() and not (folder / "sample.json").is_file():
        options = ["--seed", str(seed), "--no-baselines"]
        for name in ("records", "rounds", "sites"):
            if (value := getattr(arguments, name)) is not None:
                options += [f"--{name}", str(value)]
        for setting in ("evaluation.adversarial.texts=0", *settings_of(arm, arguments)):
            options += ["--set", setting]
    if emr_fl(["simulate", "--out", str(folder), *options]) != 0:
        sys.exit(1)


def table(out: Path, arms: list[str]) -> str:
    """Mean and spread over the seeds that are there, an arm a row."""
    lines = [
        "| arm | n | "
        + " | ".join(f"macro-F1 %, {name}" for name in SETS)
        + " | ε spent | train s a round |",
        "|---|---|" + "---|" * (len(SETS) + 2),
    ]
    for arm in arms:
        found: list[dict[str, Any]] = [
            read(path.parent) for path in sorted((out / arm).glob("*/results.json"))
        ]
        if not found:
            continue
        scores = [
            spread([result["sets"][name]["macro_f1"] for result in found])
            if all(name in result["sets"] for result in found)
            else "–"
            for name in SETS
        ]
        epsilons = [result["privacy"]["epsilon"] for result in found]
        spent = "∞" if None in epsilons else f"{max(epsilons):.2f}"
        seconds = spread([result["cost"]["train_s"] / result["rounds"] for result in found], scale=1.0)
        lines.append(f"| {arm} | {len(found)} | {' | '.join(scores)} | {spent} | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["default", "none", *reversed(EPSILONS)])
    parser.add_argument("--records", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--sites", type=int)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--delta", type=float, default=1e-4)
    parser.add_argument("--unit", choices=("record", "patient"), default="record")
    parser.add_argument("--accountant", choices=("rdp", "prv"), default="rdp")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in arguments.seeds:
            for arm in arguments.arms:
                run(arm, seed, arguments)
    print(table(arguments.out, arguments.arms))
    print(json.dumps({name: str(value) for name, value in vars(arguments).items()}))


if __name__ == "__main__":
    main()
