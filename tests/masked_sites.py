"""A simulated federation of masked sites for tests; a site may end its process in a step of its choice."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from conftest import write_notes
from emr_fl_deploy.simulate.grid import AppFactory, InProcessGrid
from emr_fl_deploy.simulate.identities import make_identities, registry_of, trust_of
from emr_fl_deploy.simulate.sites import factories
from emr_fl_server.app import Outcome, server_app
from emr_fl_server.console import RunConsole
from emr_fl_server.coordinator import make_federation
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.federation import Federation
from emr_fl_shared.config import Settings, settings_from

NAMES = ("east", "north", "south", "west")
MASKED = {"enabled": True}


def settings_of(folder: Path, **changes: Any) -> Settings:
    """A federation of four small sites with `tiny`, one round, masked unless said otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate((*NAMES, "standard")):
        write_notes(folder / f"{name}.csv", 40 + 10 * number, number)
    plain: dict[str, Any] = {
        "federation": {"name": "study", "rounds": 1, "min_sites": 2, "round_deadline": "300s"},
        "labels": {"taxonomy": "column"},
        "model": {"name": "tiny"},
        "evaluation": {"sets": {"standard": "standard.csv"}, "adversarial": {"texts": 0}},
        "sites": {name: {"source": f"{name}.csv", **changes.get("site", {})} for name in NAMES},
        "privacy": {"secure_aggregation": {**MASKED, **changes.get("secure", {})}},
        "aggregation": changes.get("aggregation", {}),
    }
    return settings_from(plain, where="test").with_paths_from(folder).resolved()


def federation_of(settings: Settings, run: Path) -> Federation:
    federation = make_federation(settings, run, HeldOutSets(settings))
    make_identities(settings.sites, run)
    federation.trust = trust_of(run)
    federation.signed_registry = partial(registry_of, run)
    return federation


def run_federation(settings: Settings, run: Path, ends: Mapping[str, str] | None = None) -> Outcome:
    """All rounds; `ends`: site → the step in which its process ends."""
    federation = federation_of(settings, run)
    apps = factories(settings, run)
    for site, step in (ends or {}).items():
        apps[site] = partial(_build, factory=apps[site], step=step)
    outcomes: list[Outcome] = []
    with InProcessGrid(apps, parallel=2) as grid:
        app = server_app(federation, RunConsole().observer("test"), outcomes.append)
        app(grid, Context(1, 0, {}, RecordDict(), {}))
    return outcomes[0]


def _build(
    name: str, progress: Callable[[dict[str, Any]], None], *, factory: AppFactory, step: str
) -> ClientApp:
    honest = factory(name, progress)

    def answer(message: Message, context: Context) -> Message:
        if message.metadata.message_type == step:
            os._exit(7)
        return honest(message, context)

    return answer  # type: ignore[return-value]
