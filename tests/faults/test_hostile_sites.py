"""A site that misbehaves costs only itself the round; what it sent is refused, named and recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.console import RunConsole
from emr_fl_server.coordinator import make_federation
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_shared.config import Settings, load_settings

sys.path.insert(0, str(Path(__file__).parent))  # the sites' processes import it by this name
import hostile_sites

QUICK = {
    "model": {"name": "tiny"},
    "federation": {"rounds": 1, "min_sites": 2, "round_deadline": "300s"},
    "evaluation": {"adversarial": {"texts": 0}},
}


def federation_of_four(folder: Path) -> Settings:
    text = (folder / "federation.toml").read_text(encoding="utf-8")
    for name in ("east", "west"):
        (folder / f"{name}.csv").write_bytes((folder / "north.csv").read_bytes())
        text += f'\n[sites.{name}]\nsource = "{name}.csv"\n'
    (folder / "federation.toml").write_text(text, encoding="utf-8")
    settings = load_settings(folder / "federation.toml", overrides=QUICK, environment={})
    return settings.with_paths_from(folder).resolved()


def run_with(settings: Settings, run: Path, fault: str) -> tuple[Outcome, list[dict[str, Any]]]:
    """One round in which site `west` has `fault`."""
    federation = make_federation(settings, run, HeldOutSets(settings))
    apps = factories(settings, run)
    apps["west"] = hostile_sites.tampered(apps["west"], fault)
    outcomes: list[Outcome] = []
    with InProcessGrid(apps, parallel=4) as grid:
        app = server_app(federation, RunConsole().observer("test"), outcomes.append)
        app(grid, Context(1, 0, {}, RecordDict(), {}))
    lines = (run / "audit" / "server.jsonl").read_text(encoding="utf-8").splitlines()
    return outcomes[0], [json.loads(line) for line in lines]


@pytest.mark.parametrize("fault", [fault for fault in hostile_sites.FAULTS if fault != "silent"])
def test_a_bad_update_is_refused_and_the_round_counts(hand_written: Path, tmp_path: Path, fault: str) -> None:
    outcome, audit = run_with(federation_of_four(hand_written), tmp_path / "run", fault)
    (entry,) = outcome.last.history
    assert entry["sites"] == ["east", "north", "south"]
    assert list(entry["refused"]) == ["west"]
    assert all(np.isfinite(tensor).all() for tensor in outcome.last.tensors.values())
    refused = [line for line in audit if line["event"] == "refused"]
    assert [line["site"] for line in refused] == ["west"]
    assert refused[0]["reason"]
    assert not list((tmp_path / "run" / "updates").glob("*.safetensors"))


def test_a_site_that_never_answers_does_not_hold_the_round(hand_written: Path, tmp_path: Path) -> None:
    settings = federation_of_four(hand_written)
    short = settings.federation.model_copy(update={"round_deadline": 60.0})
    outcome, _ = run_with(settings.model_copy(update={"federation": short}), tmp_path / "run", "silent")
    assert outcome.last.history[0]["sites"] == ["east", "north", "south"]
