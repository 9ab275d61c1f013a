"""Flower wiring of the coordinator: a ServerApp whose main function is our own round loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from emr_fl_server.federation import Federation, FederationState
from emr_fl_server.pretraining import pretrain
from emr_fl_server.roster import Roster
from emr_fl_server.rounds import Observer, evaluate_at_sites, run_rounds
from emr_fl_shared.wire import SiteScores


@dataclass(frozen=True)
class Outcome:
    """How a federation ended: its last state, the state of its best round, and the sites' own scores of that one."""

    last: FederationState
    best: FederationState
    site_scores: dict[str, SiteScores] = field(default_factory=dict)
    site_scores_s: float = 0.0


def server_app(federation: Federation, observer: Observer, done: Callable[[Outcome], None]) -> ServerApp:
    """The ServerApp of one federation; `done` receives the outcome."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        done(run_federation(grid, federation, observer))

    return app


def run_federation(grid: Grid, federation: Federation, observer: Observer) -> Outcome:
    """Gather the sites, run the rounds that are left (of pretraining, then of classification), let the sites score the best model."""
    roster = Roster(grid, federation, observer)
    roster.gather()
    if federation.settings.pretraining.rounds:
        pretrain(roster, federation, observer)
    last = run_rounds(roster, federation, observer)
    best = federation.best(last)
    if federation.stop_requested():
        return Outcome(last, best)
    began = time.monotonic()
    scores = evaluate_at_sites(grid, federation, roster.present(), best)
    return Outcome(last, best, scores, time.monotonic() - began)
