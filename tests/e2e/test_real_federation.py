"""A federation of real processes: provision, a server and three sites on loopback, TLS, registered keys, report."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from faults.federation_on_loopback import SITES, Loopback, emr_fl, federation, finish_all, start_all
from planted import planted

ROUNDS = 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loopback, dict[str, object]]]:
    """A federation that ran to its end, and what was seen of it while it ran."""
    with federation(tmp_path_factory.mktemp("real"), rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: running.progress()["phase"] == "training", "the first round")
        status = emr_fl("server", "status", "--out", running.run, "--json")
        visible = [
            " ".join([*process.cmdline(), *(f"{name}={value}" for name, value in process.environ().items())])
            for process in members(running)
        ]
        keys = secrets(running)
        ports = listening(running)
        answers = {port: knock(port) for places in ports.values() for _, port in places}
        finish_all(running)
        yield (
            running,
            {
                "status": json.loads(status.stdout),
                "visible": visible,
                "secrets": keys,
                "ports": ports,
                "answers": answers,
            },
        )


def members(running: Loopback) -> list[psutil.Process]:
    """Every process of the federation."""
    mains = [psutil.Process(process.pid) for process in running.processes.values()]
    return [member for main in mains for member in (main, *main.children(recursive=True))]


def secrets(running: Loopback) -> dict[str, list[bytes]]:
    """What nobody else may see, by file: private keys line by line, and the secrets of the loopback ports."""
    found = {}
    for path in running.folder.rglob("*"):
        if path.is_file() and (path.name.endswith((".key", "key.pem")) or "secret" in path.name):
            lines = path.read_bytes().splitlines()
            found[str(path.relative_to(running.folder))] = [line for line in lines if b"-----" not in line]
    return found


def knock(port: int) -> tuple[bytes, int]:
    """What a stranger hears: bytes of an answer to plain HTTP, and the status of a request over TLS without any key."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        try:
            heard = plain.recv(4096)
        except ConnectionError:
            heard = b""
    url = f"https://127.0.0.1:{port}/v1/runtime/acquire-task"
    headers = {"content-type": "application/protobuf"}
    return heard, httpx.post(url, content=b"", headers=headers, verify=False, trust_env=False).status_code


def listening(running: Loopback) -> dict[str, list[tuple[str, int]]]:
    """Addresses on which each command's processes listen."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, process in running.processes.items():
        main = psutil.Process(process.pid)
        found[name] = [
            (connection.laddr.ip, connection.laddr.port)
            for member in (main, *main.children(recursive=True))
            for connection in member.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
    return found


def test_every_round_counts_all_sites_and_the_run_folder_is_complete(finished: tuple[Loopback, dict]) -> None:
    running, _ = finished
    results = json.loads((running.run / "results.json").read_text(encoding="utf-8"))
    assert results["rounds"] == ROUNDS
    assert results["engine"] == "federation"
    assert set(results["sites"]) == set(SITES)
    assert all(entry["sites"] == sorted(SITES) for entry in results["history"])
    assert {"standard", "noisy", "adversarial"} <= set(results["sets"])
    for name in ("report.html", "model/model.safetensors", "model/MODEL_CARD.md", "metrics.jsonl"):
        assert (running.run / name).is_file(), name
    accepted = [line for line in running.audit() if line["event"] == "accepted"]
    assert len(accepted) == ROUNDS * len(SITES)


def test_status_said_who_is_in(finished: tuple[Loopback, dict]) -> None:
    _, seen = finished
    status = seen["status"]
    assert status["running"] is True
    assert status["rounds"] == ROUNDS
    assert {row["name"] for row in status["sites"]} == set(SITES)
    assert {row["state"] for row in status["sites"]} <= {"training", "done", "here"}
    assert all(300 < row["certificate_days"] <= 365 for row in status["sites"])
    assert status["disk_free_mb"] > 0


def test_no_secret_is_seen_from_outside(finished: tuple[Loopback, dict]) -> None:
    running, seen = finished
    keys = seen["secrets"]
    # authority, signing and server; a node's key and the pseudonyms' at each site; a key and a secret at each loopback port
    assert len(keys) == 3 + 2 * len(SITES) + 2 * (1 + len(SITES)), sorted(keys)
    lines = {line for found in keys.values() for line in found if len(line) >= 24}
    assert len(lines) > 20
    for text in seen["visible"]:
        assert "--token " not in text
        assert not [line for line in lines if line in text.encode("utf-8", "surrogateescape")]
    holders = {running.folder / name for name in keys}
    for path in running.folder.rglob("*"):
        if path.is_file() and path not in holders:
            assert not [line for line in lines if line in path.read_bytes()], path


def test_no_port_answers_without_tls_and_a_key(finished: tuple[Loopback, dict]) -> None:
    _, seen = finished
    assert len(seen["answers"]) == 2 + len(SITES)
    for heard, status in seen["answers"].values():
        assert b"HTTP" not in heard
        assert status in (401, 403, 404)


def test_only_the_gateway_listens_for_others_and_a_site_listens_for_nobody(
    finished: tuple[Loopback, dict],
) -> None:
    running, seen = finished
    assert ("127.0.0.1", running.port) in seen["ports"]["server"]
    for name, places in seen["ports"].items():
        assert {ip for ip, _ in places} <= {"127.0.0.1"}, name
    assert len(seen["ports"]["server"]) == 2  # the gateway, and the SuperLink behind it
    assert all(
        len(seen["ports"][site]) == 1 for site in SITES
    )  # the SuperNode's Runtime API, for its own worker


def test_no_planted_identifier_in_anything_that_was_written(finished: tuple[Loopback, dict]) -> None:
    running, _ = finished
    values = {value.encode() for value in planted(running.folder / "data") if len(value) >= 6}
    assert len(values) > 20
    searched = 0
    for path in running.folder.rglob("*"):
        if path.is_file() and running.folder / "data" not in path.parents:
            content = path.read_bytes()
            searched += 1
            assert not [value for value in values if value in content], path
    assert searched > 30


def test_a_site_keeps_its_state_to_itself(finished: tuple[Loopback, dict]) -> None:
    running, _ = finished
    for site in SITES:
        state = running.kit(site) / "state"
        assert state.stat().st_mode & 0o077 == 0
        for path in state.iterdir():
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0, path.name
        receipts = (state / "audit" / "egress.jsonl").read_text().splitlines()
        kinds = [json.loads(line)["kind"] for line in receipts]
        assert kinds.count("trained") == ROUNDS


def test_both_sides_keep_whole_logs_that_name_the_same_bytes(finished: tuple[Loopback, dict]) -> None:
    running, _ = finished
    shown = emr_fl("server", "audit", running.run, "--kit", running.kits / "server", "--json")
    assert shown.returncode == 0, shown.stderr
    log = json.loads(shown.stdout)
    assert log["whole"] and log["signed_by"]
    accepted = {(e["site"], e["round"]): e["sha256"] for e in log["entries"] if e["event"] == "accepted"}
    assert len(accepted) == ROUNDS * len(SITES)
    for site in SITES:
        shown = emr_fl("client", "audit", "--site", site, "--kit", running.kit(site), "--json")
        assert shown.returncode == 0, shown.stderr
        own = json.loads(shown.stdout)
        sent = {(site, e["round"]): e["sha256"] for e in own["entries"] if e["kind"] == "trained"}
        assert sent == {key: digest for key, digest in accepted.items() if key[0] == site}
        assert {entry["run"] for entry in own["entries"] if entry["kind"] == "trained"} == {running.run.name}


def test_all_processes_are_gone(finished: tuple[Loopback, dict]) -> None:
    running, _ = finished
    mine = str(running.folder)
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and any(mine in part for part in process.info["cmdline"] or [])
    ]
    assert not left


@pytest.mark.slow
def test_a_killed_server_ends_with_the_same_model(finished: tuple[Loopback, dict], tmp_path: Path) -> None:
    uninterrupted, _ = finished
    with federation(tmp_path / "killed", rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: 1 in running.checkpoints(), "round 1 on disk")
        running.until(lambda: running.progress()["round"] == 2, "round 2 begun")
        running.kill("server")
        running.start_server(resume=True)
        finish_all(running)
        assert running.model_digest() == uninterrupted.model_digest()


@pytest.mark.slow
def test_ctrl_c_stops_after_the_round_and_resume_goes_on(tmp_path: Path) -> None:
    with federation(tmp_path / "stopped", rounds=3) as running:
        start_all(running)
        running.until(lambda: running.progress()["phase"] == "training", "the first round")
        running.signal("server", signal.SIGINT)
        assert running.wait("server") == 130, running.log("server")
        done = running.checkpoints()
        assert done and done[-1] < 3
        assert "--resume" in running.log("server")
