"""Quality on the sample federation over several seeds: the full method, the plain federation and TF-IDF beside each other.

python tests/benchmarks/sample_federation.py --seeds 0 1 2 --out runs/seeds      runs and prints the table
python tests/benchmarks/sample_federation.py --runs runs/seeds/0 runs/seeds/1    prints it from finished runs
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROWS = {
    "federated, full method": None,
    "federated, plain": "federated_plain",
    "TF-IDF, each site alone (mean)": "tfidf_balanced_local",
    "TF-IDF, pooled": "tfidf_balanced_pooled",
}
SETS = ("standard", "noisy", "adversarial", "cross_site")


def run(seed: int, folder: Path, options: list[str]) -> None:
    from emr_fl_deploy.cli import run as emr_fl

    if (folder / "results.json").is_file() and "tfidf_balanced_pooled" in read(folder)["baselines"]:
        return
    resume = ["--resume"] if (folder / "settings.toml").is_file() else ["--seed", str(seed), *options]
    if emr_fl(["simulate", "--out", str(folder), *resume]) != 0:
        sys.exit(1)


def read(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results


def spread(values: list[float], digits: int = 1, scale: float = 100.0) -> str:
    scaled = [scale * value for value in values]
    deviation = statistics.stdev(scaled) if len(scaled) > 1 else 0.0
    return f"{statistics.mean(scaled):.{digits}f} ± {deviation:.{digits}f}"


def table(runs: list[dict[str, Any]]) -> str:
    def scores(result: dict[str, Any], key: str | None) -> dict[str, Any]:
        found: dict[str, Any] = result["sets"] if key is None else result["baselines"][key]
        return found

    lines = [
        f"seeds {[result['seed'] for result in runs]}, rounds {[result['rounds'] for result in runs]} "
        f"(best {[result['best_round'] for result in runs]}), n standard {[r['sets']['standard']['n'] for r in runs]}",
        "",
        "| macro-F1 %, mean ± sd | " + " | ".join(SETS) + " | ECE, standard |",
        "|---|" + "---|" * (len(SETS) + 1),
    ]
    for title, key in ROWS.items():
        cells = []
        for name in SETS:
            values = [scores(r, key)[name]["macro_f1"] for r in runs if name in scores(r, key)]
            cells.append(spread(values) if values else "–")
        cells.append(spread([scores(r, key)["standard"]["ece"] for r in runs], 3, 1.0))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| full method minus …, points of macro-F1, paired by seed | standard | noisy |",
        "|---|---|---|",
    ]
    for title, key in list(ROWS.items())[1:]:
        differences = {
            name: [scores(r, None)[name]["macro_f1"] - scores(r, key)[name]["macro_f1"] for r in runs]
            for name in ("standard", "noisy")
        }
        lines.append(f"| {title} | {spread(differences['standard'])} | {spread(differences['noisy'])} |")
    lines += ["", "drop on noise, relative: " + spread([r["sets"]["noisy"]["drop"] for r in runs], 3, 1.0)]
    lines += [
        "seconds: "
        + ", ".join(
            f"seed {r['seed']}: wall {r['cost']['wall_s']:.0f}, training {r['cost']['train_s']:.0f}, "
            f"evaluation {r['cost']['evaluate_s']:.0f}, baselines {r['cost'].get('baselines_s', 0):.0f}"
            for r in runs
        )
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--runs", type=Path, nargs="+")
    parser.add_argument("options", nargs="*", help="passed to emr-fl simulate, after --")
    given = parser.parse_args()
    folders = given.runs or [given.out / str(seed) for seed in given.seeds]
    if not given.runs:
        for seed, folder in zip(given.seeds, folders, strict=True):
            run(seed, folder, given.options)
    print(table([read(folder) for folder in folders]))


if __name__ == "__main__":
    main()
