"""A site whose process dies with half a reply handed over: Flower's node would wait for the rest for ever."""

from __future__ import annotations

from pathlib import Path

from faults.federation_on_loopback import SITES, federation, finish_all


def test_a_process_that_dies_while_it_hands_over_costs_a_moment(tmp_path: Path) -> None:
    with federation(tmp_path, rounds=3) as running:
        running.start_server()
        for site in SITES:
            running.start_site(site, {2: "dies-sending"} if site == "north" else {})
        finish_all(running)
        assert (running.state("north") / "died").exists()
        assert "the site's process ended; starting it again" in running.log("north")
        assert "the update is there already; sending it again" in running.log("north")
        accepted = [
            (entry["site"], entry["round"]) for entry in running.audit() if entry["event"] == "accepted"
        ]
        assert sorted(accepted) == sorted((site, number) for site in SITES for number in (1, 2, 3))
