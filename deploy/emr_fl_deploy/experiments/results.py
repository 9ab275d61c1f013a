"""From the runs' `results.json` to the experiment's: every figure that a table or the page shows."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from emr_fl_deploy.experiments.catalogue import Configuration
from emr_fl_deploy.experiments.plan import Cell, Plan, base_model
from emr_fl_deploy.experiments.statistics import LEVEL, paired_difference, paired_ratio, spread
from emr_fl_deploy.experiments.tracking import final_figures
from emr_fl_server.report.reading import RESULTS

SCHEMA = 1
FINISHED, FAILED, WAITING, NOT_RUN = "finished", "failed", "waiting", "not_run"


def gather(plan: Plan, out: Path, seeds: int, failures: Mapping[Cell, str]) -> dict[str, Any]:
    """The results of the cells in `out` for `seeds` seeds. `failures`: what cells that failed said; those that are not done
    otherwise are waiting."""
    cells: dict[str, list[Cell]] = {configuration.id: [] for configuration in plan.experiment.configuration}
    for cell in plan.cells(out, seeds):
        cells[cell.configuration].append(cell)
    experiment = plan.experiment
    rows = [
        _row(plan, configuration, cells[configuration.id], out, failures)
        for configuration in experiment.configuration
    ]
    reference = next(row for row in rows if row["id"] == experiment.reference)
    compare = paired_ratio if experiment.comparison == "ratio" else paired_difference
    for row in rows:
        if row is not reference and row["by_seed"]:
            row["against_reference"] = {
                column: compare(_of(row, column), _of(reference, column)) for column in experiment.columns
            }
    everything = [run for row in rows for run in row["runs"]]
    finished = [run for run in everything if run["state"] == FINISHED]
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "title": experiment.title.model_dump(),
        "question": experiment.question.model_dump(),
        "paper_table": experiment.paper,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {
            **{name: version(name) for name in ("emr-fl", "flwr", "torch", "transformers")},
            "python": platform.python_version(),
        },
        "complete": len(finished) == len(everything),
        "runs": {"all": len(everything), "finished": len(finished)},
        "data": _data(plan, finished),
        "encoder": base_model(plan, out),
        "seeds": [plan.first_seed + number for number in range(seeds)],
        "columns": list(experiment.columns),
        "reference": experiment.reference,
        "comparison": experiment.comparison,
        "level": LEVEL,
        "configurations": rows,
        "settings": plan.settings,
    }


def _row(
    plan: Plan, configuration: Configuration, cells: Sequence[Cell], out: Path, failures: Mapping[Cell, str]
) -> dict[str, Any]:
    columns = plan.experiment.columns
    runs = [_run(cell, out, failures) for cell in cells]
    by_seed: dict[str, dict[str, float]] = {}
    for seed in sorted({run["seed"] for run in runs}):
        own = [run for run in runs if run["seed"] == seed]
        if any(run["state"] != FINISHED for run in own):
            continue  # a mean over some of the sites would be of something else
        values = {column: [run["figures"].get(column) for run in own] for column in columns}
        by_seed[str(seed)] = {
            column: float(np.mean(found)) for column, found in values.items() if None not in found
        }
    reason = plan.reason_not_run(configuration)
    states = {run["state"] for run in runs}
    return {
        "id": configuration.id,
        "name": configuration.name.model_dump(),
        "note": configuration.note.model_dump() if configuration.note else None,
        "state": NOT_RUN
        if reason
        else FAILED
        if FAILED in states
        else WAITING
        if WAITING in states
        else FINISHED,
        "reason": reason,
        "settings": configuration.settings,
        "runs": runs,
        "by_seed": by_seed,
        "figures": {
            column: spread([values[column] for values in by_seed.values() if column in values])
            for column in columns
        }
        if by_seed
        else {},
        "against_reference": {},
        "paper": {
            column: dict(zip(("mean", "sd"), figures, strict=False))
            for column, figures in configuration.paper.items()
        },
    }


def _run(cell: Cell, out: Path, failures: Mapping[Cell, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seed": cell.seed,
        "site": cell.site or None,
        "folder": cell.folder(Path()).as_posix(),
    }
    if not cell.done(out):
        failed = failures.get(cell)
        return {**found, "state": FAILED if failed else WAITING, "reason": failed, "figures": {}}
    results = json.loads((cell.folder(out) / RESULTS).read_bytes())
    figures = dict(final_figures(results))
    return {
        **found,
        "state": FINISHED,
        "reason": None,
        **{
            key: results.get(key)
            for key in ("model", "parameters", "rounds", "best_round", "labels", "name", "sample_data")
        },
        "figures": figures,
    }


def _data(plan: Plan, finished: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the figures were measured on; sizes once a run is finished."""
    first: Mapping[str, Any] = finished[0] if finished else {}
    sample = plan.data is None or bool(first.get("sample_data"))
    return {
        "name": (first.get("name") or Path(plan.data).name) if plan.data else "sample federation",
        "sample": sample,
        "sites": plan.sites if plan.data is None else None,
        "training_records": plan.records if plan.data is None else None,
        "n": {
            column.partition(".")[0]: int(value)
            for column, value in first.get("figures", {}).items()
            if column.endswith(".n")
        },
    }


def _of(row: Mapping[str, Any], column: str) -> dict[int, float]:
    return {int(seed): values[column] for seed, values in row["by_seed"].items() if column in values}
