"""Event files for TensorBoard, always; runs in an MLflow file store where MLflow is installed.

Both lie in the experiment's folder and are written there only: nothing is sent anywhere, whatever the environment says.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from emr_fl_deploy.experiments.plan import Cell

EVENTS, MLRUNS = "tensorboard", "mlruns"
METRICS = "metrics.jsonl"


@dataclass
class _Followed:
    """One run's event file, and how far its `metrics.jsonl` was read."""

    writer: Any
    offset: int = 0


@dataclass
class Tracker:
    """Follows the runs of the experiment in `out`: every round's scores as they come."""

    out: Path
    _followed: dict[Cell, _Followed] = field(default_factory=dict)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for followed in self._followed.values():
            followed.writer.close()
        self._followed.clear()

    def has(self, cell: Cell) -> bool:
        """Whether the cell has an event file."""
        return any(cell.beside(self.out, EVENTS, "").glob("events.*"))

    def follow(self, cell: Cell) -> None:
        """Write the rounds that the run has completed since the last call; the first call of a cell begins its file anew, with
        the rounds before."""
        path = cell.folder(self.out) / METRICS
        if not path.is_file():
            return
        if cell not in self._followed:
            self._followed[cell] = _Followed(_writer(cell.beside(self.out, EVENTS, "")))
        followed = self._followed[cell]
        with path.open("rb") as stream:
            stream.seek(followed.offset)
            whole = stream.read()
        whole = whole[: whole.rfind(b"\n") + 1]  # the last line may still be growing
        followed.offset += len(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            for name, value in numbers(entry):
                if name != "round":
                    followed.writer.add_scalar(f"{entry['set']}/{name}", value, int(entry["round"]))
        if whole:
            followed.writer.flush()

    def finished(self, cell: Cell, settings: Mapping[str, Any]) -> None:
        """The rest of the rounds and the final scores; and the same as a run of MLflow."""
        self.follow(cell)
        results = json.loads((cell.folder(self.out) / "results.json").read_bytes())
        final = dict(final_figures(results))
        if cell not in self._followed:  # TF-IDF has no rounds
            self._followed[cell] = _Followed(_writer(cell.beside(self.out, EVENTS, "")))
        followed = self._followed.pop(cell)
        for name, value in final.items():
            followed.writer.add_scalar(f"final/{name}", value, int(results.get("rounds", 0)))
        followed.writer.close()
        if importlib.util.find_spec("mlflow") is not None:
            _to_mlflow(self.out, cell, settings, results, final)


def numbers(entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The numbers of a flat record, in its order."""
    return [
        (name, float(value))
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def final_figures(results: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Every number of the sets and of the cost, as `SET.METRIC` and `cost.NAME`."""
    groups = {**results["sets"], "cost": results.get("cost", {})}
    return [
        (f"{place}.{name}", value)
        for place, group in groups.items()
        if isinstance(group, Mapping)
        for name, value in numbers(group)
    ]


def _writer(folder: Path) -> Any:
    from tensorboardX import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return SummaryWriter(str(folder))


def _to_mlflow(
    out: Path, cell: Cell, settings: Mapping[str, Any], results: Mapping[str, Any], final: Mapping[str, float]
) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

    # named outright, so that MLFLOW_TRACKING_URI of the environment does not count
    client = MlflowClient(tracking_uri=(out / MLRUNS).resolve().as_uri())
    name = cell.configuration
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment is not None else client.create_experiment(name)
    run = client.create_run(number, run_name=cell.name).info.run_id
    client.log_param(run, "seed", cell.seed)
    for place, value in _leaves(settings):
        client.log_param(run, place, value)
    for entry in results.get("history", []):
        for set_name, scores in entry["sets"].items():
            for metric, value in numbers(scores):
                client.log_metric(run, f"{set_name}.{metric}", value, step=int(entry["round"]))
    for place, value in final.items():
        client.log_metric(run, f"final.{place}", value)
    client.set_terminated(run)


def _leaves(tree: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        found += (
            _leaves(value, f"{place}{name}.") if isinstance(value, Mapping) else [(f"{place}{name}", value)]
        )
    return found
