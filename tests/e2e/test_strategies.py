"""Every strategy in a whole federation on this machine, and once more with a crash in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories, make_keys
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.coordinator import make_federation
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_shared.config import Settings, load_settings
from emr_fl_shared.errors import PolicyError

OPEN = {"share_controls": True, "share_label_counts": True, "smallest_count": 1}


class Killed(BaseException):
    """As if the coordinator had been killed here."""


class Watching:
    """An observer with nothing to say; dies when round `dies_in` has all its updates and nothing of it is stored."""

    def __init__(self, dies_in: int = 0) -> None:
        self._dies_in = dies_in

    def aggregating(self, number: int) -> None:
        if number == self._dies_in:
            raise Killed

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


def settings(study: Path, policy: dict[str, Any], training: dict[str, Any], **aggregation: Any) -> Settings:
    overrides = {
        "federation": {"rounds": 2, "patience": 0},
        "model": {"name": "tiny", "max_length": 32},
        "training": {"adversarial": {"method": "none"}, **training},
        "evaluation": {"adversarial": {"texts": 0}},
        "aggregation": aggregation,
        "sites": {name: {"policy": policy} for name in ("north", "south")},
    }
    return load_settings(study / "federation.toml", overrides=overrides).with_paths_from(study).resolved()


def run(given: Settings, folder: Path, dies_in: int = 0) -> Outcome:
    """The federation in `folder` from where it stands: real sites in processes of their own, real messages."""
    make_keys(given.sites, folder)
    outcomes: list[Outcome] = []
    with InProcessGrid(factories(given, folder), parallel=2, threads=1) as grid:
        federation = make_federation(given, folder, HeldOutSets(given))
        app = server_app(federation, Watching(dies_in), outcomes.append)
        app(grid, Context(grid.run.run_id, 0, {}, RecordDict(), {}))
    return outcomes[0]


CASES = [
    pytest.param({"strategy": "scaffold", "payload": "int8", "ema": 0.5}, {}, id="scaffold, int8, ema"),
    *(
        pytest.param(aggregation, training, id=name, marks=pytest.mark.slow)
        for name, aggregation, training in (
            ("fedprox, int8", {"strategy": "fedprox", "payload": "int8"}, {}),
            ("fedavgm", {"strategy": "fedavgm"}, {}),
            ("fedadagrad", {"strategy": "fedadagrad"}, {}),
            ("fedadam", {"strategy": "fedadam"}, {}),
            ("fedyogi, bf16", {"strategy": "fedyogi", "payload": "bf16"}, {}),
            ("scaffold", {"strategy": "scaffold"}, {}),
            ("counts", {"weighting": "effective_labels"}, {"balance_by": "federation", "epochs": 2}),
        )
    ),
]


@pytest.mark.parametrize(("aggregation", "training"), CASES)
def test_it_runs_and_a_killed_coordinator_goes_on_with_the_same_bits(
    hand_written: Path, tmp_path: Path, aggregation: dict[str, Any], training: dict[str, Any]
) -> None:
    given = settings(hand_written, OPEN, training, **aggregation)
    whole = run(given, tmp_path / "whole" / "run").last
    assert whole.round == 2
    assert all(entry["sites"] == ["north", "south"] for entry in whole.history)
    assert not any(entry["refused"] for entry in whole.history)
    assert all(np.isfinite(tensor).all() for tensor in whole.stored().values())
    if "balance_by" in training:
        assert {site: len(counts) for site, counts in whole.label_counts.items()} == {"north": 3, "south": 3}
    killed = tmp_path / "killed" / "run"
    with pytest.raises(Killed):
        run(given, killed, dies_in=2)
    assert [path.name for path in (killed / "checkpoints").iterdir()] == ["round-000001.safetensors"]
    resumed = run(given, killed).last
    assert resumed.resumed_at == 1
    assert resumed.stored().keys() == whole.stored().keys()
    for name, tensor in whole.stored().items():
        assert tensor.tobytes() == resumed.stored()[name].tobytes(), name


@pytest.mark.parametrize(
    ("aggregation", "policy"),
    [
        pytest.param({"strategy": "scaffold"}, "share_controls", id="scaffold"),
        pytest.param(
            {"weighting": "effective_labels"}, "share_label_counts", id="weights", marks=pytest.mark.slow
        ),
    ],
)
def test_by_default_the_sites_refuse_what_leaves_more(
    hand_written: Path, tmp_path: Path, aggregation: dict[str, Any], policy: str
) -> None:
    given = settings(hand_written, {}, {}, **aggregation)
    with pytest.raises(PolicyError):
        run(given, tmp_path / "run")
    audit = (tmp_path / "run" / "audit" / "server.jsonl").read_text(encoding="utf-8")
    assert audit.count(f"policy.{policy}") == 2
    assert not list((tmp_path / "run" / "updates").iterdir())
