"""Many records through several processes: the same records, the same counts, whatever happens to a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify import deidentifier as module
from emr_fl_shared.deidentify.parallel import PROCESSES, in_parallel, processes
from emr_fl_shared.deidentify.registry import recognisers
from emr_fl_shared.deidentify.spans import Span
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.records import Record

KEY = b"k" * 32


def records(count: int) -> list[Record]:
    return [
        Record(
            record_id=str(number),
            patient_id=f"P{number % 50:04d}",
            text=f"患者张建国，电话1380013{number:04d}，头痛{number % 9 + 1}天，由其女李小梅陪诊。",
            identifiers={"phone": f"1390013{number:04d}"},
        )
        for number in range(count)
    ]


def children() -> list[psutil.Process]:
    """The cleaning processes of this one that have not ended; other tests may have left children that nobody waited for."""
    found = []
    for child in psutil.Process().children():
        try:
            if any("cleaning_process" in part for part in child.cmdline()):
                found.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def few_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "_ALONE", 10)
    monkeypatch.setenv(PROCESSES, "2")
    yield
    assert not children()


def test_the_same_as_one_by_one() -> None:
    given = records(700)
    several, alone = Deidentifier(key=KEY), Deidentifier(key=KEY)
    cleaned = list(several.cleaned(given))
    assert [record for record, _ in cleaned] == given
    assert [result for _, result in cleaned] == [alone.clean(record) for record in given]
    assert several.audit == alone.audit and several.audit.records == 700


def test_others_really_work() -> None:
    at_work = 0
    for _ in Deidentifier(key=KEY).cleaned(records(400)):
        at_work = max(at_work, len(children()))
    assert at_work == 2


def test_few_records_start_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALONE", 1000)
    for _ in Deidentifier(key=KEY).cleaned(records(300)):
        assert not children()


def test_killed_processes_lose_nothing() -> None:
    given = records(900)
    alone = Deidentifier(key=KEY)
    cleaned = []
    for number, pair in enumerate(Deidentifier(key=KEY).cleaned(given)):
        cleaned.append(pair)
        if number in (100, 400):
            victim = children()[0]
            victim.kill()
            victim.wait(10)
    assert cleaned == [(record, alone.clean(record)) for record in given]


def test_one_who_has_enough_leaves_nobody_behind() -> None:
    for _, _ in Deidentifier(key=KEY).cleaned(records(5000)):
        if children():
            break


def test_large_records_block_nobody() -> None:
    """More than a socket holds, in both directions at once."""
    given = [Record(record_id=str(number), text="头痛三天，" * 4000) for number in range(300)]
    assert [record for record, _ in Deidentifier(key=KEY).cleaned(given)] == given


def test_a_recogniser_of_the_sites_own_stays_here() -> None:
    class Badge:
        name: str = "badge"
        kinds: tuple[str, ...] = ("RECORD_NUM",)

        def find(self, text: str, known: Mapping[str, str]) -> Iterator[Span]:
            if (at := text.find("头痛")) >= 0:
                yield Span(at, at + 2, "RECORD_NUM", 1.0)

    cleaner = Deidentifier([*recognisers(), Badge()], key=KEY)
    assert all("头痛" not in result.record.text for _, result in cleaner.cleaned(records(100)))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_they_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from test_parallel import KEY, records, children
        from emr_fl_shared.deidentify import Deidentifier, deidentifier
        deidentifier._ALONE = 10
        for _ in Deidentifier(key=KEY).cleaned(records(5000)):
            if len(found := children()) == 2:
                print(*(child.pid for child in found), flush=True)
                time.sleep(60)
        """
    )
    here = str(Path(__file__).parent)
    paths = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(psutil.pid_exists(pid) for pid in pids)
    arguments = [part for pid in pids for part in psutil.Process(pid).cmdline()]
    assert not any("张建国" in part for part in arguments)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while any(is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", "²"])
def test_a_wrong_number_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROCESSES, wrong)
    with pytest.raises(SettingsError, match=PROCESSES):
        processes()


def test_as_many_as_there_are_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROCESSES)
    assert 1 <= processes() <= min(8, os.cpu_count() or 1)


def test_nothing_given_starts_nobody() -> None:
    assert list(in_parallel(len, iter(()), count=2)) == []
