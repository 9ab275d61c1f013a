"""A federation over a line that is slow, narrow and cut in the middle of transfers ends with the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_shared.processes import free_port
from faults.bad_line import BadLine, bad_line
from faults.federation_on_loopback import federation, finish_all, start_all

ROUNDS = 2


@pytest.mark.slow
def test_a_bad_line_costs_time_and_nothing_else(tmp_path: Path) -> None:
    with federation(tmp_path / "good", rounds=ROUNDS) as running:
        start_all(running)
        finish_all(running)
        expected = running.model_digest()
    behind = free_port()
    with federation(tmp_path / "bad", rounds=ROUNDS, server_port=behind) as running:
        with bad_line(BadLine(running.port, behind)) as line:
            start_all(running)
            running.until(lambda: running.progress()["phase"] == "training", "the first round")
            finish_all(running)
        assert line.cuts >= 2, "the line was never cut"
        assert running.model_digest() == expected
        assert not [entry for entry in running.audit() if entry["event"] != "accepted"]


@pytest.mark.slow
def test_a_line_that_is_down_for_a_while_is_waited_out(tmp_path: Path) -> None:
    behind = free_port()
    with federation(tmp_path, rounds=ROUNDS, server_port=behind) as running:
        calm = BadLine(running.port, behind, delay=0.0, rate=1e9, cut_after=1e12)
        with bad_line(calm) as line:
            start_all(running)
            running.until(lambda: running.progress()["phase"] == "training", "the first round")
            line.down.set()
            running.until(lambda: line.cuts >= 1 and line.turned_away >= 10, "sites try again")
            line.down.clear()
            finish_all(running)
        accepted = [entry for entry in running.audit() if entry["event"] == "accepted"]
        assert len(accepted) == ROUNDS * 3
