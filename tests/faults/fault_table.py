"""The fault table: what happens to a real federation when a part of it dies, and how long it takes to recover.

    python tests/faults/fault_table.py [--only WORD …] [--out docs/faults.md]

Each row is a federation of its own: provisioned, one server and three sites as processes on loopback, three rounds of
`tiny`, with one fault injected at a named moment. Recorded: whether the final model is bit-identical to that of an uninterrupted federation, which
sites' updates were lost, and the seconds from the fault until the round that it hit was on disk (an uninterrupted round's
time stands in the first row). `make faults` runs all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.federation_on_loopback import SITES, Loopback, emr_fl, federation, start_all

ROUNDS = 3
WORKER, GATEWAY = "superlink.worker", "superlink.gateway"
LINK, NODE, SITE_WORKER = "flower_superlink", "flower_supernode", "join.worker"

Inject = Callable[[Loopback], None]
Moment = Callable[[Loopback], bool]


@dataclass(frozen=True)
class Fault:
    """`when` it happens (a state of round `hit`), what is done, and the sites whose updates it may cost."""

    name: str
    moment: str
    when: Moment
    inject: Inject
    hit: int = 2
    after: Inject | None = None
    leaves: tuple[str, ...] = ()


@dataclass
class Row:
    """What was seen."""

    fault: str
    moment: str
    same_model: bool | None
    lost: str
    seconds: float | None
    said: str


# --- moments ------------------------------------------------------------------------------------------------------------


def phase(name: str, number: int) -> Moment:
    def reached(running: Loopback) -> bool:
        progress = running.progress()
        return bool(progress["phase"] == name and progress["round"] == number)

    return reached


def site_trains(site: str, number: int) -> Moment:
    """The site's own word comes with its first step; by then the reply of a round this small is nearly there."""
    return lambda running: running.training(site, number)


def site_receives(site: str, number: int) -> Moment:
    """The round has begun and the site has not begun to train: it waits for, or receives, the model."""

    def reached(running: Loopback) -> bool:
        return phase("training", number)(running) and not running.training(site, number)

    return reached


def checkpoint_appears(number: int) -> Moment:
    """The moment in which a checkpoint is being written: its partial file is there, or it just was."""

    def reached(running: Loopback) -> bool:
        folder = running.run / "checkpoints"
        parts = list(folder.glob(f".round-{number:06d}*.part")) if folder.is_dir() else []
        return bool(parts) or number in running.checkpoints()

    return reached


def waiting(running: Loopback) -> bool:
    return running.progress()["phase"] in ("starting", "waiting")


# --- faults ----------------------------------------------------------------------------------------------------------------


def kill(name: str, module: str | None = None) -> Inject:
    return lambda running: running.kill(name, module)


def kill_and_resume(running: Loopback) -> None:
    running.kill("server")
    running.start_server(resume=True)


def kill_and_join_again(site: str) -> Inject:
    def inject(running: Loopback) -> None:
        running.kill(site)
        running.start_site(site)

    return inject


def freeze(site: str, seconds: float) -> Inject:
    """A laptop that sleeps: everything of a site stands still."""

    def inject(running: Loopback) -> None:
        main = psutil.Process(running.processes[site].pid)
        members = [main, *main.children(recursive=True)]
        for member in members:
            member.suspend()
        time.sleep(seconds)
        for member in members:
            with contextlib.suppress(psutil.Error):
                member.resume()

    return inject


def leave_for_good(site: str) -> Inject:
    def inject(running: Loopback) -> None:
        running.signal(site, signal.SIGKILL)
        running.wait(site)
        del running.processes[site]

    return inject


def revoke(site: str) -> Inject:
    def inject(running: Loopback) -> None:
        done = emr_fl("server", "revoke", site, "--kits", running.kits, "--reason", "test")
        assert done.returncode == 0, done.stderr
        code = running.wait(site, 120)
        assert code == 3, (code, running.log(site))
        del running.processes[site]

    return inject


FAULTS = (
    Fault("none", "–", lambda running: 1 in running.checkpoints(), lambda running: None),
    Fault(
        "server (all of it) killed -9, started with --resume",
        "waiting for sites",
        waiting,
        kill_and_resume,
        hit=1,
    ),
    Fault("server killed -9, --resume", "sites train", phase("training", 2), kill_and_resume),
    Fault("server killed -9, --resume", "evaluating", phase("evaluating", 2), kill_and_resume),
    Fault(
        "server killed -9, --resume",
        "checkpoint being written",
        checkpoint_appears(2),
        kill_and_resume,
        hit=3,
    ),
    Fault("ServerApp process killed -9", "sites train", phase("training", 2), kill("server", WORKER)),
    Fault("ServerApp process killed -9", "evaluating", phase("evaluating", 2), kill("server", WORKER)),
    Fault("SuperLink killed -9", "sites train", phase("training", 2), kill("server", LINK)),
    Fault("gateway killed -9", "sites train", phase("training", 2), kill("server", GATEWAY)),
    Fault("SuperNode killed -9", "its site trains", site_trains("north", 2), kill("north", NODE)),
    Fault("SuperNode killed -9", "its site receives", site_receives("north", 2), kill("north", NODE)),
    Fault(
        "site's worker killed -9", "its site receives", site_receives("north", 2), kill("north", SITE_WORKER)
    ),
    Fault("site's worker killed -9", "it trains", site_trains("north", 2), kill("north", SITE_WORKER)),
    Fault(
        "client join killed -9, joined again",
        "it trains",
        site_trains("north", 2),
        kill_and_join_again("north"),
    ),
    Fault("site asleep for 40 s", "it trains", site_trains("north", 2), freeze("north", 40.0)),
    Fault(
        "site leaves for good", "it trains", site_trains("east", 2), leave_for_good("east"), leaves=("east",)
    ),
    Fault("site revoked", "it trains", site_trains("east", 2), revoke("east"), leaves=("east",)),
)


def run(fault: Fault, folder: Path, expected: str | None) -> tuple[Row, str]:
    """One row, and the digest of the final model."""
    with federation(folder, rounds=ROUNDS) as running:
        start_all(running)
        running.until(lambda: fault.when(running), f"{fault.name}: {fault.moment}", 600)
        began = time.monotonic()
        fault.inject(running)
        running.until(
            lambda: fault.hit in running.checkpoints() or running.processes["server"].poll() is not None,
            "the round",
            900,
        )
        seconds = time.monotonic() - began
        code = running.wait("server", 900)
        assert code == 0, running.log("server")[-3000:]
        digest = running.model_digest()
        results = json.loads((running.run / "results.json").read_text(encoding="utf-8"))
        missing = [
            f"{site} in round {entry['round']}"
            for entry in results["history"]
            for site in SITES
            if site not in entry["sites"]
        ]
        said = [
            line
            for line in running.log("server").splitlines()
            if "starting it again" in line or "continues" in line or "warning" in line
        ]
        row = Row(
            fault.name,
            fault.moment,
            None if expected is None or fault.leaves else digest == expected,
            ", ".join(missing) or "nothing",
            seconds,
            said[0].strip() if said else "",
        )
        return row, digest


def table(rows: list[Row]) -> str:
    lines = [
        "| fault | moment | updates lost | final model | s until the round was on disk | what the server said |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        same = {True: "bit-identical", False: "**different**", None: "–"}[row.same_model]
        seconds = f"{row.seconds:.0f}" if row.seconds is not None else "–"
        said = row.said.replace("|", "\\|")
        lines.append(f"| {row.fault} | {row.moment} | {row.lost} | {same} | {seconds} | {said} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], help="words that a row's name or moment must hold")
    parser.add_argument("--keep", type=Path, help="an empty folder for the federations, which then stay")
    parser.add_argument("--json", type=Path, help="write the rows as JSON too")
    given = parser.parse_args()
    chosen = [
        fault
        for fault in FAULTS
        if fault.name == "none" or all(word in f"{fault.name} {fault.moment}" for word in given.only)
    ]
    rows: list[Row] = []
    expected: str | None = None
    with tempfile.TemporaryDirectory(prefix="emr-fl-faults-") as temporary:
        folder = given.keep or temporary
        for number, fault in enumerate(chosen):
            try:
                row, digest = run(fault, Path(folder) / str(number), expected)
            except (AssertionError, TimeoutError, LookupError) as error:
                row, digest = (
                    Row(fault.name, fault.moment, False, "?", None, f"FAILED: {str(error)[-300:]}"),
                    "",
                )
            if fault.name == "none":
                expected = digest
            rows.append(row)
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print()
    print(
        f"{os.cpu_count()} cores, {socket.gethostname() and 'loopback'}, {ROUNDS} rounds of tiny, {len(SITES)} sites"
    )
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps([vars(row) for row in rows], ensure_ascii=False, indent=1))
    sys.exit(any(row.same_model is False for row in rows))


if __name__ == "__main__":
    main()
