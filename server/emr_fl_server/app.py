"""Flower wiring of the coordinator: a ServerApp whose main function is our own round loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from emr_fl_server.federation import Federation, FederationState
from emr_fl_server.rounds import Observer, evaluate_at_sites, find_sites, run_rounds
from emr_fl_shared.wire import SiteScores


@dataclass(frozen=True)
class Outcome:
    """How a federation ended: its last state, the state of its best round, and the sites' own scores of that one."""

    last: FederationState
    best: FederationState
    site_scores: dict[str, SiteScores] = field(default_factory=dict)


def server_app(federation: Federation, observer: Observer, done: Callable[[Outcome], None]) -> ServerApp:
    """The ServerApp of one federation; `done` receives the outcome."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        nodes = find_sites(grid, federation, observer)
        last = run_rounds(grid, federation, nodes, observer)
        best = federation.best(last)
        done(Outcome(last, best, evaluate_at_sites(grid, federation, nodes, best)))

    return app
