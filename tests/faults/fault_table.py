"""The fault table: what happens to a real federation when a part of it dies, sends rubbish or finds no room, and for how long.

    python tests/faults/fault_table.py [--only WORD …] [--json FILE] [--keep DIR]

Each part is a federation of its own: provisioned, one server and three sites as real processes on loopback with TLS and
registered keys, `ROUNDS` rounds of `tiny`.

*Kills*: each kind of process is killed with SIGKILL once in each phase, in a different round each; recorded are the seconds
from there until the round that it hit was on disk, whether an update was lost, and whether the final model is
bit-identical to that of the undisturbed federation. *Other faults*: one federation each, or one fault a round.

`make faults` runs all of them. Full disks need root (a small file system is mounted) and clocks `faketime`; where one is
missing the row says so.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import sign_message

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from emr_fl_shared.hello import HELLO_PATH
from faults.federation_on_loopback import ENVIRONMENT, SITES, Loopback, emr_fl, federation, start_all
from public_port import PULL, hello_of, key_header, sign_registry, signature

ROUNDS = 10
WORKER, GATEWAY = "superlink.worker", "superlink.gateway"
LINK, NODE, SITE_WORKER = "flower_superlink", "flower_supernode", "join.worker"
VICTIM = "north"
LONG = 900.0

Inject = Callable[[Loopback], None]


@dataclass
class Row:
    """What was seen. `ok` is None where there is nothing to compare."""

    fault: str
    moment: str
    happened: str
    lost: str
    same_model: bool | None
    seconds: float | None
    ok: bool = True


# --- moments: each gives the round that it is in, or 0 ----------------------------------------------------------------------------

Moment = Callable[[Loopback], int]


def _server(running: Loopback, name: str) -> int:
    progress = running.progress()
    return int(progress["round"]) if progress["phase"] == name else 0


def _site_says(running: Loopback, words: str) -> bool:
    return running.log(VICTIM).rstrip().endswith(words)


def waiting_for_sites(running: Loopback) -> int:
    return int(running.progress()["phase"] in ("starting", "waiting"))


def model_goes_out(running: Loopback) -> int:
    number = _server(running, "training")
    return 0 if any(running.training(site, number) for site in SITES) else number


def sites_train(running: Loopback) -> int:
    number = _server(running, "training")
    return number if running.training(VICTIM, number) else 0


def updates_come_in(running: Loopback) -> int:
    number = _server(running, "training")
    return number if 0 < len(running.progress()["replied"]) < len(SITES) else 0


def aggregating(running: Loopback) -> int:
    return _server(running, "evaluating")


AGGREGATED = 0.15
"""Seconds after which updates this small are averaged: the held-out sets are being scored then."""


def evaluating(running: Loopback) -> int:
    number = _server(running, "evaluating")
    return number if number and time.time() - running.progress()["since"] > AGGREGATED else 0


def checkpointing(running: Loopback) -> int:
    """A checkpoint is being written: its partial file is there, or it just was."""
    number = int(running.progress()["round"])
    folder = running.run / "checkpoints"
    parts = list(folder.glob(f".round-{number:06d}*.part")) if number and folder.is_dir() else []
    return number if parts or (number and number in running.checkpoints()) else 0


def site_waits(running: Loopback) -> int:
    number = _server(running, "evaluating")
    return number if _site_says(running, "waiting for the next task") else 0


def site_receives(running: Loopback) -> int:
    number = _server(running, "training")
    return 0 if running.training(VICTIM, number) else number


def site_sends(running: Loopback) -> int:
    number = _server(running, "training")
    return number if running.training(VICTIM, number) and _site_says(running, "handing over the reply") else 0


AT_SERVER: dict[str, Moment] = {
    "waiting": waiting_for_sites,
    "sending": model_goes_out,
    "training": sites_train,
    "receiving": updates_come_in,
    "aggregating": aggregating,
    "evaluating": evaluating,
    "checkpointing": checkpointing,
}
AT_SITE: dict[str, Moment] = {
    "waiting": site_waits,
    "receiving": site_receives,
    "training": sites_train,
    "sending": site_sends,
}
PHASES = ("waiting", "sending", "receiving", "training", "aggregating", "evaluating", "checkpointing")


# --- kills -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A kind of process: the command it belongs to, and what its command line holds if it is a child of it."""

    command: str
    module: str | None
    moments: dict[str, Moment]

    def is_there(self, running: Loopback) -> bool:
        with contextlib.suppress(LookupError, psutil.Error):
            return self.module is None or bool(running.child(self.command, self.module))
        return False

    def kill(self, running: Loopback) -> None:
        running.kill(self.command, self.module)
        if self.module is None and self.command == "server":
            running.start_server(resume=True)
        elif self.module is None:
            running.start_site(self.command)


KILLS = {
    "server start, all of it; --resume": Victim("server", None, AT_SERVER),
    "its ServerApp process": Victim("server", WORKER, AT_SERVER),
    "its SuperLink": Victim("server", LINK, AT_SERVER),
    "its gateway": Victim("server", GATEWAY, AT_SERVER),
    "client join, all of it; joined again": Victim(VICTIM, None, AT_SITE),
    "its SuperNode": Victim(VICTIM, NODE, AT_SITE),
    "its worker": Victim(VICTIM, SITE_WORKER, AT_SITE),
}


@dataclass
class Killed:
    """A kind of process, killed once in each phase of one federation."""

    process: str
    seconds: dict[str, float]
    lost: str
    same_model: bool | None
    ok: bool


def reach(running: Loopback, victim: Victim, moment: Moment, after: int, what: str) -> int:
    """Wait until a moment of a round later than `after` in which the victim is alive; that round."""
    hit = 0

    def reached() -> bool:
        nonlocal hit
        hit = moment(running)
        assert hit < ROUNDS and not running.ended("server"), f"{what} was never seen"
        return hit > after and victim.is_there(running)

    running.until(reached, what, LONG, every=0.005)
    return hit


def kills(process: str, folder: Path, expected: str) -> Killed:
    victim = KILLS[process]
    seconds: dict[str, float] = {}
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        last = 0
        for phase, moment in victim.moments.items():
            hit = reach(running, victim, moment, last, f"{process}: {phase}")
            began = time.monotonic()
            victim.kill(running)
            waited = hit + 1 if phase == "checkpointing" else hit
            running.until(
                lambda waited=waited: waited in running.checkpoints() or running.ended("server"),  # type: ignore[misc]
                "the round",
                LONG,
            )
            seconds[phase] = time.monotonic() - began
            last = waited
        finish(running)
        lost = missing(running)
        same = running.model_digest() == expected
        return Killed(process, seconds, ", ".join(lost) or "nothing", same, same and not lost)


def finish(running: Loopback, names: tuple[str, ...] = SITES) -> None:
    """All that is left ends well."""
    code = running.wait("server", LONG)
    assert code == 0, running.log("server")[-3000:]
    for site in names:
        code = running.wait(site, 120)
        assert code == 0, running.log(site)[-2000:]


def missing(running: Loopback) -> list[str]:
    """Updates that a round went without."""
    results = json.loads((running.run / "results.json").read_text(encoding="utf-8"))
    return [
        f"{site} in round {entry['round']}"
        for entry in results["history"]
        for site in SITES
        if site not in entry["sites"]
    ]


def undisturbed(folder: Path) -> tuple[str, str]:
    """The digest that the others are compared with, and what a round takes."""
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        times: list[float] = []
        for number in range(1, ROUNDS + 1):
            running.until(lambda number=number: number in running.checkpoints(), "a round", LONG, every=0.02)  # type: ignore[misc]
            times.append(time.monotonic())
        finish(running)
        rounds = [after - before for before, after in itertools.pairwise(times)]
        assert not missing(running)
        return (
            running.model_digest(),
            f"a round takes {statistics.median(rounds):.1f} s ({min(rounds):.1f}–{max(rounds):.1f})",
        )


# --- sites that go -------------------------------------------------------------------------------------------------------------


def asleep(folder: Path, expected: str) -> Iterator[Row]:
    """A laptop that sleeps: everything of a site stands still, in the middle of a round, for 40 s."""
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: sites_train(running) == 2, "round 2", every=0.02)
        members = [(main := psutil.Process(running.processes[VICTIM].pid)), *main.children(recursive=True)]
        for member in members:
            member.suspend()
        time.sleep(40.0)
        for member in members:
            member.resume()
        began = time.monotonic()
        running.until(lambda: 2 in running.checkpoints(), "the round")
        seconds = time.monotonic() - began
        finish(running)
        lost = missing(running)
        same = running.model_digest() == expected
        yield Row(
            "site asleep for 40 s",
            "it trains",
            "waited for: it went on where it was; seconds from its waking",
            ", ".join(lost) or "nothing",
            same,
            seconds,
            same and not lost,
        )


def hangs(folder: Path, expected: str) -> Iterator[Row]:
    """A SuperNode that is there and does nothing any more: stopped for good while it waits for the next round."""
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: site_waits(running) == 2, "round 2", LONG, every=0.005)
        began = time.monotonic()
        running.child(VICTIM, NODE).suspend()
        running.until(lambda: 3 in running.checkpoints(), "the round", LONG)
        seconds = time.monotonic() - began
        finish(running)
        lost = missing(running)
        same = running.model_digest() == expected
        said = last_error(running.log(VICTIM), "hangs")
        yield Row(
            "a SuperNode that hangs (SIGSTOP)",
            "it waits",
            f"“{said}”; seconds until the next round was on disk",
            ", ".join(lost) or "nothing",
            same,
            seconds,
            same and not lost and "hangs" in said,
        )


def leaves(folder: Path, expected: str) -> Iterator[Row]:
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: running.training("east", 2), "round 2", every=0.02)
        began = time.monotonic()
        running.signal("east", signal.SIGKILL)
        running.wait("east")
        running.until(lambda: 3 in running.checkpoints(), "two rounds", LONG)
        seconds = time.monotonic() - began
        finish(running, ("north", "south"))
        lost = missing(running)
        rounds = {int(entry.split()[-1]) for entry in lost}
        yield Row(
            "site leaves for good (killed, never back)",
            "it trains",
            "given up after its grace, the rounds go on with the others; seconds until two rounds were on disk",
            f"{len(lost)} of that site, all after it",
            None,
            seconds,
            all(entry.startswith("east") for entry in lost) and rounds >= set(range(4, ROUNDS + 1)),
        )


def revoked(folder: Path, expected: str) -> Iterator[Row]:
    def revoke(running: Loopback) -> None:
        done = emr_fl("server", "revoke", "east", "--kits", running.kits, "--reason", "test")
        assert done.returncode == 0, done.stderr

    yield shut_out(folder, "site revoked (`server revoke`)", revoke)


def expired(folder: Path, expected: str) -> Iterator[Row]:
    def past(document: dict[str, Any]) -> None:
        entry = next(entry for entry in document["sites"] if entry["name"] == "east")
        entry["not_after"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()

    yield shut_out(folder, "a site's kit expires", lambda running: sign_registry(running.kits, past))


def shut_out(folder: Path, name: str, inject: Inject) -> Row:
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: running.training("east", 2), "round 2", every=0.02)
        began = time.monotonic()
        inject(running)
        code = running.wait("east", 120)
        seconds = time.monotonic() - began
        finish(running, ("north", "south"))
        lost = missing(running)
        return Row(
            name,
            "it trains",
            f"exit {code}: “{last_error(running.log('east'))}”; seconds until it had ended",
            f"{len(lost)} of that site, all after it",
            None,
            seconds,
            code == 3 and bool(lost) and all(entry.startswith("east") for entry in lost),
        )


def silent(folder: Path, expected: str) -> Iterator[Row]:
    """A site that trains for ever and shows signs of life: the deadline of the round is what ends it."""
    with federation(folder, rounds=3, deadline="30s") as running:
        running.start_server()
        for site in SITES:
            running.start_site(site, {2: "silent"} if site == VICTIM else {})
        running.until(lambda: sites_asked(running, 2), "round 2", LONG, every=0.02)
        began = time.monotonic()
        running.until(lambda: 2 in running.checkpoints(), "the round", LONG)
        seconds = time.monotonic() - began
        finish(running, ("east", "south"))
        lost = missing(running)
        yield Row(
            "a site that never answers (round_deadline 30 s)",
            "round 2",
            "late, named as such; the round closes at its deadline with the others",
            ", ".join(lost),
            None,
            seconds,
            bool(lost) and all(entry.startswith(VICTIM) for entry in lost),
        )


def sites_asked(running: Loopback, number: int) -> bool:
    return _server(running, "training") == number


# --- sites that send rubbish ------------------------------------------------------------------------------------------------------

BAD = {
    "truncated": "truncated update",
    "rubbish-array": "rubbish in place of the array",
    "corrupted": "one bit flipped",
    "nan": "NaN in one number",
    "wrong-shape": "a tensor of another shape",
    "missing-tensor": "a tensor is missing",
    "huge-norm": "1,000 times too large",
    "oversized": "twice the bytes",
    "impostor": "another site's name",
    "replayed": "another round's number",
}


def rubbish(folder: Path, expected: str) -> Iterator[Row]:
    """One site sends something bad in each round but the first."""
    with federation(folder, rounds=len(BAD) + 2) as running:
        running.start_server()
        by_round = dict(enumerate(BAD, start=2))
        for site in SITES:
            running.start_site(site, by_round if site == VICTIM else {})
        finish(running)
        results = json.loads((running.run / "results.json").read_text(encoding="utf-8"))
        history = {entry["round"]: entry for entry in results["history"]}
        for number, kind in by_round.items():
            refused = history[number]["refused"]
            yield Row(
                f"update: {BAD[kind]}",
                f"round {number}",
                f"refused: “{refused.get(VICTIM, '').splitlines()[0] if refused else ''}”",
                ", ".join(site for site in SITES if site not in history[number]["sites"]),
                None,
                None,
                list(refused) == [VICTIM] and VICTIM in history[number]["asked"]
                if "asked" in history[number]
                else list(refused) == [VICTIM],
            )
        good = all(VICTIM in history[number]["sites"] for number in (1, len(BAD) + 2))
        yield Row(
            "the same site, honest again",
            f"round {len(BAD) + 2}",
            "asked again and counted",
            "nothing" if good else VICTIM,
            None,
            None,
            good,
        )


# --- disks ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own for `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every free byte."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def server_disk(folder: Path, expected: str) -> Iterator[Row]:
    if os.geteuid() != 0:
        yield Row("disk full at the server", "–", "not measured: needs root", "–", None, None)
        return
    with small_disk(folder / "run", 400), federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: sites_train(running) == 2, "round 2", every=0.02)
        ballast = fill(running.run)
        code = running.wait("server", LONG)
        said = last_error(running.log("server"))
        ballast.unlink()
        began = time.monotonic()
        running.start_server(resume=True)
        running.until(lambda: 2 in running.checkpoints(), "the round", LONG)
        seconds = time.monotonic() - began
        finish(running)
        lost = missing(running)
        same = running.model_digest() == expected
        yield Row(
            "disk full at the server",
            "sites train",
            f"exit {code}: “{said}”; room made, `--resume`; seconds from there",
            ", ".join(lost) or "nothing",
            same,
            seconds,
            same and not lost and "disk is full" in said,
        )


def site_disk(folder: Path, expected: str) -> Iterator[Row]:
    if os.geteuid() != 0:
        yield Row("disk full at a site", "–", "not measured: needs root", "–", None, None)
        return
    with federation(folder, rounds=ROUNDS) as running, small_disk(running.state(VICTIM), 100):
        start_all(running)
        running.until(lambda: sites_train(running) == 2, "round 2", every=0.02)
        ballast = fill(running.state(VICTIM))
        running.until(
            lambda: running.ended(VICTIM) or "disk is full" in running.log(VICTIM), "it says so", LONG
        )
        said = last_error(running.log(VICTIM), "disk is full")
        time.sleep(5)
        code = running.processes[VICTIM].poll()
        ballast.unlink()
        began = time.monotonic()
        if code is not None:
            running.start_site(VICTIM)
        size = len(running.log(VICTIM))
        running.until(lambda: "handing over the reply" in running.log(VICTIM)[size:], "an update", LONG)
        seconds = time.monotonic() - began
        finish(running)
        lost = missing(running)
        ending = f"exit {code}, joined again" if code is not None else "stayed"
        yield Row(
            "disk full at a site",
            "it trains",
            f"“{said}”; {ending}; seconds from room being made until it sent again",
            ", ".join(lost) or "nothing",
            running.model_digest() == expected if not lost else None,
            seconds,
            bool(said) and all(entry.startswith(VICTIM) for entry in lost) and len(lost) <= 2,
        )


# --- strangers at the door ------------------------------------------------------------------------------------------------------------


def strangers(folder: Path, expected: str) -> Iterator[Row]:
    """While a federation trains: who may not join is told why, and it goes on as if nobody had knocked."""
    rows: list[tuple[str, str, bool]] = []
    with federation(folder / "own", rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: 1 in running.checkpoints(), "round 1")
        copy = folder / "copy"
        shutil.copytree(running.kit("north"), copy)
        shutil.rmtree(copy / "state", ignore_errors=True)

        def joins(name: str, kit: Path, words: str, *prefix: str, site: str = "north") -> None:
            code, said = try_to_join(kit, site, *prefix)
            rows.append((name, f"exit {code}: “{said}”", code == 3 and words in said))

        if shutil.which("faketime"):
            joins("clock an hour ahead", copy, "clock is wrong", "faketime", "-f", "+1h")
            joins("clock an hour behind", copy, "clock is wrong", "faketime", "-f", "-1h")
        else:
            rows.append(("clock an hour off", "not measured: no faketime here", True))
        joins("another version", copy, "another version", sys.executable, "-P", "-c", OTHER_VERSION)
        other = folder / "foreign"
        text = (running.folder / "federation.toml").read_text(encoding="utf-8")
        (folder / "foreign.toml").write_text(text, encoding="utf-8")
        done = emr_fl("server", "provision", folder / "foreign.toml", "--out", other)
        assert done.returncode == 0, done.stderr
        foreign = other / "sites" / "north"
        shutil.copy(running.kit("north") / "SITE.toml", foreign / "SITE.toml")
        joins("kit of another federation", foreign, "not the server that the kit was made for")
        rows += raw_strangers(running.port)
        rows += replays(running)
        finish(running)
        lost = missing(running)
        same = running.model_digest() == expected
    for name, heard, ok in rows:
        yield Row(
            name, "rounds are running", heard, ", ".join(lost) or "nothing", same, None, ok and not lost
        )


OTHER_VERSION = """
import importlib.metadata as metadata
real = metadata.version
metadata.version = lambda name: "9.9.0" if name == "emr-fl" else real(name)
from emr_fl_deploy.cli import main
main()
"""


def try_to_join(kit: Path, site: str, *prefix: str) -> tuple[int, str]:
    """The exit code of `client join`, and its reason."""
    command = (*prefix,) if "-c" in prefix else (*prefix, sys.executable, "-P", "-m", "emr_fl_deploy.cli")
    done = subprocess.run(
        [*command, "client", "join", "--site", site, "--kit", kit, "--leave-when-finished"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        env=ENVIRONMENT,
    )
    return done.returncode, last_error(done.stderr)


def raw_strangers(port: int) -> Iterator[tuple[str, str, bool]]:
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(b"POST /v1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        try:
            answer = plain.recv(100)
        except ConnectionError:
            answer = b""
        yield (
            "plaintext client",
            f"{len(answer)} bytes of an answer, connection closed",
            b"HTTP" not in answer,
        )
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as raw, context.wrap_socket(raw):
            yield "TLS 1.1 client", "taken", False
    except (ssl.SSLError, ConnectionError) as error:
        yield "TLS 1.1 client", f"refused in the handshake ({type(error).__name__})", True
    answer = httpx.post(
        f"https://127.0.0.1:{port}/v1/fleet/pull-messages", content=b"\0", verify=False, trust_env=False
    )
    yield "a client without a key", f"HTTP {answer.status_code}", answer.status_code in (401, 403)


def replays(running: Loopback) -> Iterator[tuple[str, str, bool]]:
    """What a site sent an hour ago, byte for byte, by someone who recorded it behind its TLS."""
    before = datetime.now(UTC) - timedelta(hours=1)
    body = hello_of(running.kits, VICTIM, time=before).model_dump_json().encode()
    server = f"https://127.0.0.1:{running.port}"
    answer = httpx.post(
        server + HELLO_PATH,
        content=body,
        headers=signature(running.kits, VICTIM, body),
        verify=False,
        trust_env=False,
    )
    standing = answer.json().get("standing") if answer.status_code == 200 else answer.status_code
    yield "a greeting of an hour ago, sent again", f"not taken: {standing}", standing == "clock"
    key = load_ssh_private_key((running.kit(VICTIM) / "node.key").read_bytes(), None)
    signed = b64encode(sign_message(key, before.isoformat().encode("ascii"))).decode("ascii")  # type: ignore[arg-type]
    headers = {
        **key_header(running.kits, VICTIM),
        TIMESTAMP_HEADER: before.isoformat(),
        FLEET_HTTP_SIGNATURE_HEADER: signed,
        "content-type": "application/protobuf",
    }
    question = PullMessagesRequest(node=Node(node_id=1)).SerializeToString()
    answer = httpx.post(server + PULL, content=question, headers=headers, verify=False, trust_env=False)
    yield (
        "a SuperNode's request of an hour ago, sent again",
        f"HTTP {answer.status_code}",
        answer.status_code == 401,
    )


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def last_error(text: str, words: str = "") -> str:
    """The first line of the last error that was told, or the last line that holds `words`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if (words in line if words else "error:" in line)]
    return found[-1] if found else last_line(text)


OTHERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    "asleep": asleep,
    "hangs": hangs,
    "leaves": leaves,
    "revoked": revoked,
    "expired": expired,
    "silent": silent,
    "rubbish": rubbish,
    "server-disk": server_disk,
    "site-disk": site_disk,
    "strangers": strangers,
}


def plain(row: Row, folder: Path) -> Row:
    """Without the folder of this run of the table and the time of day."""
    happened = re.sub(rf"{re.escape(str(folder))}/[^/]+/", "", row.happened)
    return replace(row, happened=re.sub(r"“\d\d:\d\d:\d\d ", "“", happened))


# --- report ---------------------------------------------------------------------------------------------------------------------


def kill_table(rows: list[Killed]) -> str:
    lines = [
        "| killed with SIGKILL | " + " | ".join(PHASES) + " | updates lost | final model |",
        "|---" * (len(PHASES) + 3) + "|",
    ]
    for row in rows:
        cells = [f"{row.seconds[phase]:.0f} s" if phase in row.seconds else "" for phase in PHASES]
        lines.append(f"| {row.process} | " + " | ".join(cells) + f" | {row.lost} | {_same(row.same_model)} |")
    return "\n".join(lines)


def other_table(rows: list[Row]) -> str:
    lines = [
        "| fault | moment | what happened | updates lost | final model | s |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds = f"{row.seconds:.0f}" if row.seconds is not None else ""
        happened = row.happened.replace("|", "\\|")
        lines.append(
            f"| {row.fault} | {row.moment} | {happened} | {row.lost} | {_same(row.same_model)} | {seconds} |"
        )
    return "\n".join(lines)


def _same(same: bool | None) -> str:
    return {True: "bit-identical", False: "**different**", None: "–"}[same]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], help="parts whose name holds one of these words")
    parser.add_argument("--keep", type=Path, help="an empty folder for the federations, which then stay")
    parser.add_argument("--json", type=Path, help="write the rows as JSON too")
    given = parser.parse_args()

    def chosen(names: Any) -> list[str]:
        return [name for name in names if not given.only or any(word in name for word in given.only)]

    killed: list[Killed] = []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="emr-fl-faults-") as temporary:
        folder = Path(given.keep or temporary)
        expected, pace = undisturbed(folder / "none")
        print(f"undisturbed: {pace}", flush=True)
        for number, process in enumerate(chosen(KILLS)):
            try:
                found = kills(process, folder / f"kill-{number}", expected)
            except (AssertionError, TimeoutError, LookupError) as error:
                found = Killed(process, {}, f"FAILED: {str(error)[-300:]}", None, False)
            killed.append(found)
            print(kill_table([found]).splitlines()[-1], flush=True)
        for name in chosen(OTHERS):
            try:
                seen = [plain(row, folder) for row in OTHERS[name](folder / name, expected)]
            except (AssertionError, TimeoutError, LookupError, KeyError) as error:
                seen = [Row(name, "", f"FAILED: {str(error)[-300:]}", "?", None, None, False)]
            rows += seen
            for row in seen:
                print(
                    ("" if row.ok else "NOT AS EXPECTED ") + other_table([row]).splitlines()[-1], flush=True
                )
    print(f"\n{os.cpu_count()} cores, {ROUNDS} rounds of tiny, {len(SITES)} sites; undisturbed: {pace}\n")
    if killed:
        print(kill_table(killed) + "\n")
    if rows:
        print(other_table(rows))
    if given.json:
        both = {"pace": pace, "kills": [vars(row) for row in killed], "others": [vars(row) for row in rows]}
        given.json.write_text(json.dumps(both, ensure_ascii=False, indent=1), encoding="utf-8")
    sys.exit(not all(row.ok for row in (*killed, *rows)))


if __name__ == "__main__":
    main()
