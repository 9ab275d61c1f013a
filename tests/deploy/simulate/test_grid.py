"""The in-process grid with real sites in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from emr_fl_deploy.simulate.grid import InProcessGrid
from emr_fl_deploy.simulate.sites import factories
from emr_fl_server.asking import AlwaysThere, Asking, ask
from emr_fl_shared.app import from_records, to_records
from emr_fl_shared.config import load_settings
from emr_fl_shared.wire import DESCRIBE, DescribeReply, DescribeRequest, Failure, pack, unpack


@pytest.fixture
def grid(hand_written: Path, tmp_path: Path) -> Iterator[InProcessGrid]:
    settings = load_settings(hand_written / "federation.toml").with_paths_from(hand_written)
    with InProcessGrid(factories(settings, tmp_path / "run"), parallel=2) as grid:
        yield grid
    assert grid.site_processes() == {}


def describe(grid: InProcessGrid, node: int, text: str | None = None) -> Message:
    body = text if text is not None else pack(DescribeRequest(run="r", label_names=True))
    (reply,) = grid.send_and_receive([Message(to_records(body), node, DESCRIBE)], timeout=60)
    return reply


def test_each_site_answers_from_a_process_of_its_own(grid: InProcessGrid) -> None:
    names = {node.node_id: node.name for node in grid.get_nodes()}
    for node, name in names.items():
        body, payload = from_records(describe(grid, node).content)
        assert payload is None
        reply = unpack(body, DescribeReply)
        assert reply.site == name
        assert reply.labels == sorted(["呼吸", "消化", "神经"])
    processes = grid.site_processes()
    assert set(processes) == {"north", "south"}
    assert len(set(processes.values()) | {os.getpid()}) == 3


def test_a_killed_site_is_an_error_and_comes_back(grid: InProcessGrid) -> None:
    node = next(iter(grid.get_node_ids()))
    describe(grid, node)
    (pid,) = grid.site_processes().values()
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while grid.site_processes() and time.monotonic() < until:
        time.sleep(0.05)
    again = describe(grid, node)
    assert not again.has_error()
    assert set(grid.site_processes().values()) != {pid}


def test_a_site_that_hangs_does_not_hold_the_others_and_starts_anew(
    hand_written: Path, tmp_path: Path
) -> None:
    settings = load_settings(hand_written / "federation.toml").with_paths_from(hand_written)
    with InProcessGrid(factories(settings, tmp_path / "run"), parallel=1) as grid:
        nodes = {node.name: node.node_id for node in grid.get_nodes()}
        for node in nodes.values():
            describe(grid, node)
        stopped = grid.site_processes()["north"]
        os.kill(stopped, signal.SIGSTOP)
        request = to_records(pack(DescribeRequest(run="r", label_names=True)))

        def ask_all(timeout: float) -> set[str]:
            messages = [Message(request, node, DESCRIBE) for node in nodes.values()]
            replies = grid.send_and_receive(messages, timeout=timeout)
            return {name for name, node in nodes.items() for r in replies if r.metadata.src_node_id == node}

        assert ask_all(3.0) == set()  # it holds the only place; the round's deadline passes
        assert ask_all(60.0) == {"north", "south"}
        assert grid.site_processes()["north"] != stopped


def test_closing_ends_a_site_that_hangs(hand_written: Path, tmp_path: Path) -> None:
    settings = load_settings(hand_written / "federation.toml").with_paths_from(hand_written)
    grid = InProcessGrid(factories(settings, tmp_path / "run"), parallel=1)
    node = next(iter(grid.get_node_ids()))
    describe(grid, node)
    (pid,) = grid.site_processes().values()
    os.kill(pid, signal.SIGSTOP)
    grid.push_messages(
        [Message(to_records(pack(DescribeRequest(run="r", label_names=False))), node, DESCRIBE)]
    )
    began = time.monotonic()
    grid.close()
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_waiting_does_not_spin_over_a_reply_that_came_too_late(grid: InProcessGrid) -> None:
    node = next(iter(grid.get_node_ids()))
    describe(grid, node)
    (identifier,) = grid.push_messages(
        [Message(to_records(pack(DescribeRequest(run="r", label_names=False))), node, DESCRIBE)]
    )
    until = time.monotonic() + 20
    while identifier not in grid._replies and time.monotonic() < until:
        time.sleep(0.05)
    describe(grid, node)  # the next round: the old reply is dropped
    began = time.monotonic()
    grid.wait(0.5)
    assert time.monotonic() - began > 0.4


def test_a_malformed_request_is_refused_without_echo(grid: InProcessGrid) -> None:
    node = next(iter(grid.get_node_ids()))
    reply = describe(grid, node, text='{"protocol": 1, "run": "r", "secret-value": "张三"}')
    body, _ = from_records(reply.content)
    failure = unpack(body, Failure)
    assert failure.cause == "data"
    assert "张三" not in body


def test_a_missing_file_is_said_by_the_site(hand_written: Path, tmp_path: Path) -> None:
    settings = load_settings(hand_written / "federation.toml").with_paths_from(hand_written)
    (hand_written / "north.csv").unlink()
    with InProcessGrid(factories(settings, tmp_path / "run"), parallel=1) as grid:
        node = next(n.node_id for n in grid.get_nodes() if n.name == "north")
        body, _ = from_records(describe(grid, node).content)
    reason = unpack(body, Failure).reason
    assert reason.startswith("no such file")
    assert "north.csv" not in reason


def test_a_site_that_can_write_no_receipt_says_so_and_answers_nothing(
    hand_written: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(hand_written / "federation.toml").with_paths_from(hand_written)
    receipts = tmp_path / "run" / "audit" / "sites" / "north.jsonl"
    receipts.mkdir(parents=True)  # a folder stands where the receipts should be written
    said: list[tuple[str, dict[str, Any]]] = []
    with InProcessGrid(
        factories(settings, tmp_path / "run"),
        parallel=1,
        on_progress=lambda site, event: said.append((site, event)),
    ) as grid:
        nodes = {node.name: node.node_id for node in grid.get_nodes()}
        asking = Asking(DESCRIBE, DescribeRequest(run="r", label_names=True), None, 60.0)
        (answer,) = ask(grid, {"north": nodes["north"]}, asking, AlwaysThere(), lambda: True)
        assert answer.failure == "no answer: the site's process ended"
        assert not describe(grid, nodes["south"]).has_error()
    assert [(site, event["doing"]) for site, event in said] == [("north", "failing"), ("north", "failed")]
    event = said[-1][1]
    assert "nothing was sent" in event["reason"]
    assert str(receipts) in event["reason"]
    assert "Traceback" not in capfd.readouterr().err


def test_receipts_are_written_before_anything_leaves(grid: InProcessGrid, tmp_path: Path) -> None:
    node = next(n.node_id for n in grid.get_nodes() if n.name == "north")
    describe(grid, node)
    receipts = (tmp_path / "run" / "audit" / "sites" / "north.jsonl").read_text(encoding="utf-8")
    assert '"kind": "described"' in receipts
    assert "咳嗽" not in receipts


def test_workers_of_the_baselines_end_with_the_one_that_asked(tmp_path: Path) -> None:
    script = tmp_path / "asks.py"
    script.write_text(
        "import os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from emr_fl_deploy.simulate.grid import end_with_parent, fork_server\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, mp_context=fork_server(), initializer=end_with_parent)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-P", str(script)], stdout=subprocess.PIPE, text=True) as asks:
        assert asks.stdout is not None
        worker = int(asks.stdout.readline())
        asks.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_ctrl_c_while_the_libraries_load_shows_no_traceback(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(
        "import time\n"
        "from emr_fl_deploy.simulate.grid import fork_server\n"
        "if __name__ == '__main__':\n"
        "    fork_server()\n"
        "    print('started', flush=True)\n"
        "    try:\n"
        "        time.sleep(30)\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as starts:
        assert starts.stdout is not None
        starts.stdout.readline()
        time.sleep(1.0)  # the fork server imports torch now
        os.killpg(starts.pid, signal.SIGINT)
        _, errors = starts.communicate(timeout=60)
    assert starts.returncode == 0
    assert "Traceback" not in errors
