"""Identifiers planted in every column of a hospital's export: none is in anything that is written or sent afterwards.

Check, de-identify, train, crash, resume, report, as real processes; then every byte under the run folder, the kits, the
sites' state, the logs, the temporary and home directories, the working directory (where a core dump would be), shared
memory, and what crossed the server's public port behind its TLS is searched for every planted value in all its written
forms. Only the export itself and the hospital's quarantine file may hold one.
"""

from __future__ import annotations

import csv
import os
import random
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from emr_fl_deploy.corpus.identities import id_card
from faults import federation_on_loopback as loopback
from faults.federation_on_loopback import Loopback, emr_fl, federation, finish_all, start_all
from needles import Needles
from planted import planted

VICTIM = "north"
ROUNDS = 6
TEXTS = ("主诉", "现病史", "既往史", "初步诊断")
LAST = ("欧阳", "尉迟", "慕容", "皇甫", "濮阳", "澹台", "淳于", "宇文", "赫连", "轩辕")
FIRST = "筱懿霁骁珺翊赟玥珩璟昶婧昀澍祎"


def identities(number: int, draw: random.Random) -> dict[str, str]:
    """One invented person that stands nowhere else."""
    from datetime import date, timedelta

    born = date(1950, 1, 1) + timedelta(days=draw.randrange(18000))
    return {
        "患者": LAST[number % len(LAST)] + "".join(draw.sample(FIRST, 2)),
        "身份证号": id_card("420606", born, draw.choice("男女"), draw),
        "联系电话": "138" + f"{draw.randrange(10**8):08d}",
        "门诊号": f"MZ{draw.randrange(10**10):010d}",
        "邮箱": f"{''.join(draw.sample('bcdfghjkmnpqrstvwxz', 8))}{number}@example.cn",
        "家庭住址": f"湖北省襄阳市樊城区柿铺街道{draw.randrange(100, 999)}号{draw.randrange(1000, 9999)}室",
    }


@dataclass
class Planted:
    """What was put where: values by column."""

    by_column: dict[str, set[str]] = field(default_factory=dict)

    @property
    def values(self) -> set[str]:
        return set().union(*self.by_column.values())


def plant(export: Path) -> Planted:
    """Put one person's identifiers into each column, each into a row of its own: alone, or in a text with what stands before it."""
    with open(export, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    draw = random.Random(8)
    found = Planted()
    at = 0
    for number, column in enumerate(columns):
        person = identities(number, draw)
        for name, value in person.items():
            row = rows[at % len(rows)]
            row[column] = f"{row[column]}。{name}：{value}。" if column in TEXTS else value
            at += 1
        found.by_column[column] = set(person.values())
    with open(export, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
        # a row that can't be read as a record goes to the quarantine as it is
        csv.writer(file).writerow([*rows[0].values(), *found.by_column[columns[0]]])
    return found


@dataclass
class Seen:
    """One hospital's whole story, and what was found on the way."""

    running: Loopback
    planted: Planted
    needles: Needles
    around: Path
    capture: Path
    output: dict[str, str] = field(default_factory=dict)
    midway: dict[str, set[str]] = field(default_factory=dict)
    peers: set[str] = field(default_factory=set)
    core_limits: set[tuple[int, int]] = field(default_factory=set)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("story")
    around = folder / "around"
    capture = folder / "capture"
    capture.mkdir()
    for name in ("tmp", "home", "cwd"):
        (around / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(around / "cwd")
        patch.setitem(loopback.ENVIRONMENT, "TMPDIR", str(around / "tmp"))
        patch.setitem(loopback.ENVIRONMENT, "HOME", str(around / "home"))
        before = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(
            resource.RLIMIT_CORE, (before[1], before[1])
        )  # as on a machine where somebody debugs
        try:
            tap = (str(Path(__file__).with_name("tapped_server.py")), str(capture))
            with federation(folder / "federation", rounds=ROUNDS, server_program=tap) as running:
                yield tell(running, around, capture)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)


def tell(running: Loopback, around: Path, capture: Path) -> Seen:
    """Check, de-identify, train, crash, resume, report."""
    export = running.folder / "data" / "sites" / "hospital-a.csv"
    hidden = plant(export)
    values = hidden.values | {value for value in planted(running.folder / "data") if len(value) >= 6}
    story = Seen(running, hidden, Needles(sorted(values)), around, capture)
    site, out = running.kit(VICTIM) / "SITE.toml", running.folder / "hospital"
    out.mkdir()

    def command(*arguments: str | Path) -> None:
        done = emr_fl(*arguments)
        name = " ".join(map(str, arguments[:2]))
        story.output[name] = done.stdout + done.stderr
        assert done.returncode in (0, 1, 3), done.stderr

    page, quarantine = out / "check.html", out / "quarantine"
    command("data", "check", export, "--config", site, "--page", page, "--quarantine", quarantine)
    copy = ("--out", out / "copy.csv", "--report", out / "report.html", "--audit-list", out / "audit.csv")
    command("data", "deidentify", export, "--config", site, *copy)
    command("client", "check", "--site", VICTIM, "--kit", running.kit(VICTIM), "--offline", "--json")

    def trains() -> None:
        running.until(lambda: running.progress()["phase"] == "training", "a round", every=0.02)

    start_all(running)
    running.until(lambda: running.training(VICTIM, 1), "round 1", every=0.02)
    worker = running.child(VICTIM, "join.worker")
    for member in (worker, psutil.Process(running.processes[VICTIM].pid)):
        story.core_limits.add(member.rlimit(psutil.RLIMIT_CORE))
    story.peers |= peers(running)
    worker.send_signal(signal.SIGSEGV)
    story.midway |= search(story)
    trains()
    running.kill("server")
    running.kill("east")
    running.processes[VICTIM].send_signal(signal.SIGABRT)
    running.wait(VICTIM)
    story.midway |= search(story)
    running.start_server(resume=True)
    running.start_site("east")
    running.start_site(VICTIM)
    trains()
    story.peers |= peers(running)
    story.midway |= search(story)
    finish_all(running)
    command("report", running.run)
    return story


def peers(running: Loopback) -> set[str]:
    """Addresses to which anything of the federation is connected."""
    found = set()
    for process in running.processes.values():
        main = psutil.Process(process.pid)
        for member in (main, *main.children(recursive=True)):
            for connection in member.net_connections(kind="inet"):
                if connection.raddr:
                    found.add(connection.raddr.ip)
    return found


def search(story: Seen) -> dict[str, set[str]]:
    """What is found now in all places, by path."""
    running = story.running
    allowed = [running.folder / "data", running.folder / "hospital" / "quarantine"]
    found, searched = story.needles.in_files(running.folder, allowed)
    assert searched > 30
    for folder in (story.around, story.capture):
        found |= story.needles.in_files(folder)[0]
    if sys.platform == "linux":
        found |= story.needles.in_files(Path("/dev/shm"))[0]
    return found


def test_every_column_was_planted(seen: Seen) -> None:
    """The control: the search finds the values in the export."""
    export = seen.running.folder / "data" / "sites" / "hospital-a.csv"
    found = seen.needles.find(export.read_bytes())
    assert len(seen.planted.by_column) == 18
    for column, values in seen.planted.by_column.items():
        assert values <= found, column


def test_nothing_was_left_anywhere_while_it_ran_and_crashed(seen: Seen) -> None:
    assert not seen.midway


def test_nothing_is_left_at_the_end(seen: Seen) -> None:
    assert (seen.running.run / "report.html").is_file()
    assert not search(seen)


def test_nothing_was_printed(seen: Seen) -> None:
    assert set(seen.output) == {"data check", "data deidentify", "client check", f"report {seen.running.run}"}
    for name, text in seen.output.items():
        assert not seen.needles.find(text.encode()), name


def test_what_crossed_the_line_was_captured(seen: Seen) -> None:
    """The control: models, updates and replies are in the capture, which the searches found clean."""
    content = {path.name: path.read_bytes() for path in seen.capture.iterdir()}
    down = b"".join(body for name, body in content.items() if name.endswith(".down"))
    up = b"".join(body for name, body in content.items() if name.endswith(".up"))
    assert b"classifier.bias" in down and b"classifier.bias" in up
    assert b"/v1/fleet/push-object" in up and b"/v1/emr-fl/hello" in up
    assert len(up) > 1e7 and len(down) > 1e7


def test_a_crash_leaves_no_image_of_the_memory(seen: Seen) -> None:
    assert {soft for soft, _ in seen.core_limits} == {0}
    assert not list((seen.around / "cwd").iterdir())


def test_nothing_spoke_to_other_machines(seen: Seen) -> None:
    assert seen.peers == {"127.0.0.1"}


def test_rows_that_were_left_out_are_in_the_quarantine_for_the_owner_only(seen: Seen) -> None:
    folder = seen.running.folder / "hospital" / "quarantine"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
