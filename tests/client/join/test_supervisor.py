"""`client join` with a real gateway, a real worker, and a node that ends as soon as it was started."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import write_notes
from emr_fl_client.join import supervisor
from emr_fl_client.join.greeting import CertificateDates, Unreachable
from emr_fl_client.join.place import Places
from emr_fl_client.join.supervisor import (
    GROWTH,
    LONGEST_PAUSE,
    RECORDS,
    REJOIN_PAUSE,
    SETTLED_SECONDS,
    Join,
    about_records,
    rejoin_pause,
)
from emr_fl_shared.errors import Interrupted
from emr_fl_shared.hello import HelloReply
from emr_fl_shared.messages import set_language
from emr_fl_shared.processes import stop_child
from public_port import HOST, PublicPort, public_port, server_with


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("supervisor")) as gateway:
        yield gateway


class Pauses(threading.Event):
    """Notes every pause between two nodes and leaves after `most` of them."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.noted: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        caller = sys._getframe(1).f_code.co_name
        if caller == "_stay" and timeout is not None:
            self.noted.append(timeout)
            if len(self.noted) == self.most:
                self.set()
        return super().wait(timeout)


def test_nodes_that_end_young_are_started_ever_more_seldom(
    port: PublicPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = port.kits / "sites" / "north"
    write_notes(kit / "records.csv", 60, 1)
    starts = tmp_path / "starts"
    # the fifth node lives long enough to be settled
    program = (
        f"import time; file = open({str(starts)!r}, 'a+'); file.write('.'); file.flush(); file.seek(0); "
        "time.sleep(7 if len(file.read()) == 5 else 0); raise SystemExit(1)"
    )
    monkeypatch.setattr(supervisor, "NODE_PROGRAM", program)
    monkeypatch.setattr(supervisor, "REJOIN_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.03)
    monkeypatch.setattr(supervisor, "SETTLED_SECONDS", 6.0)
    join = Join(Places("north", kit, state=tmp_path / "state").open())
    join._stop = pauses = Pauses(6)
    with pytest.raises(Interrupted, match="as asked"):
        join.run()
    assert pauses.noted == pytest.approx([0.01, 0.016, 0.0256, 0.03, 0.01, 0.016])
    assert starts.read_text() == "......"
    assert capsys.readouterr().err.count("the connection ended; joining again") == 6


def test_a_server_that_was_away_makes_no_pause_grow(
    port: PublicPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nodes that end because the server was restarted again and again are started again at once."""
    kit = port.kits / "sites" / "north"
    write_notes(kit / "records.csv", 60, 1)
    greet = supervisor.Greeter.hello

    def there_at_the_start_only(self: supervisor.Greeter, incarnation: str = "") -> HelloReply:
        if not incarnation:
            raise Unreachable("away", where="test")
        return greet(self, incarnation)

    monkeypatch.setattr(supervisor.Greeter, "hello", there_at_the_start_only)
    monkeypatch.setattr(supervisor, "NODE_PROGRAM", "import time; time.sleep(1); raise SystemExit(1)")
    monkeypatch.setattr(supervisor, "REJOIN_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "GREET_SECONDS", 0.1)
    join = Join(Places("north", kit, state=tmp_path / "state").open())
    join._stop = pauses = Pauses(3)
    with pytest.raises(Interrupted, match="as asked"):
        join.run()
    assert pauses.noted == pytest.approx([0.01, 0.01, 0.01])
    assert "the server can't be reached; staying" in capsys.readouterr().err


def test_the_kill_switch_cuts_off_what_a_node_hands_over_and_a_new_one_stays(
    port: PublicPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = port.kits / "sites" / "north"
    write_notes(kit / "records.csv", 60, 1)
    starts, state = tmp_path / "starts", tmp_path / "state"
    # the first node throws the switch, the second takes it back, the third ends by itself
    program = (
        f"import pathlib, time; starts = open({str(starts)!r}, 'a+'); starts.write('.'); starts.flush(); starts.seek(0); "
        f"stop = pathlib.Path({str(state / 'STOP')!r}); number = len(starts.read()); "
        "number == 1 and stop.touch(); time.sleep(600 if number == 1 else 2); stop.unlink(missing_ok=True); time.sleep(2)"
    )
    monkeypatch.setattr(supervisor, "NODE_PROGRAM", program)
    monkeypatch.setattr(supervisor, "REJOIN_PAUSE", 0.01)
    join = Join(Places("north", kit, state=state).open())
    join._stop = Pauses(2)
    with pytest.raises(Interrupted, match="as asked"):
        join.run()
    said = capsys.readouterr().err
    assert said.index("stopped by the site: nothing leaves") < said.index("resumed by the site")
    assert said.count("stopped by the site") == 1 and starts.read_text() == ".."


def test_a_node_that_hangs_is_replaced(
    port: PublicPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = port.kits / "sites" / "south"
    write_notes(kit / "records.csv", 60, 1)
    # alive, polite to nobody, silent
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    monkeypatch.setattr(supervisor, "NODE_PROGRAM", program)
    monkeypatch.setattr(supervisor, "GREET_SECONDS", 0.2)
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "stop_child", partial(stop_child, seconds=0.2))
    monkeypatch.setattr(supervisor, "REJOIN_PAUSE", 0.01)
    join = Join(Places("south", kit, state=tmp_path / "state").open())
    join._stop = Pauses(2)
    with pytest.raises(Interrupted, match="as asked"):
        join.run()
    assert capsys.readouterr().err.count("Flower's node hangs; starting a new one") == 2


def test_a_node_that_was_only_late_stays(
    port: PublicPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sleep the site's greeting comes before its node's own request: one word of silence is not enough."""
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 1.0)
    now = 0.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now)
    join = Join(Places("south", port.kits / "sites" / "south", state=tmp_path / "state").open())

    def heard(silent: float, at: float) -> bool:
        nonlocal now
        now = at
        return join._hangs(reply_with(silent))

    assert not heard(3600.0, 0.0)
    assert not heard(0.1, 1.0)
    assert not heard(1.5, 2.0)
    assert not heard(2.0, 2.5)
    assert heard(2.5, 3.0)


def reply_with(node_silent: float) -> HelloReply:
    return HelloReply(
        federation_id="0" * 32,
        site="south",
        standing="registered",
        time=datetime.now(UTC),
        emr_fl="0.1.0",
        flwr="1.41.0",
        node_silent=node_silent,
    )


@pytest.mark.parametrize(
    ("last", "lived", "pause"),
    [
        pytest.param(0.0, 0.1, REJOIN_PAUSE, id="the first"),
        pytest.param(REJOIN_PAUSE, 0.1, REJOIN_PAUSE * GROWTH, id="young"),
        pytest.param(LONGEST_PAUSE / 1.1, 0.1, LONGEST_PAUSE, id="not beyond the longest"),
        pytest.param(LONGEST_PAUSE, SETTLED_SECONDS - 1, LONGEST_PAUSE, id="not settled yet"),
        pytest.param(LONGEST_PAUSE, SETTLED_SECONDS + 1, REJOIN_PAUSE, id="settled"),
    ],
)
def test_the_pause_before_a_node_is_started_again(last: float, lived: float, pause: float) -> None:
    assert rejoin_pause(last, lived) == pytest.approx(pause)


def test_an_expired_server_ends_a_first_try_and_not_a_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_with(tmp_path, [HOST], -timedelta(days=1), -timedelta(hours=1)) as kits:
        kit = kits / "sites" / "north"
        write_notes(kit / "records.csv", 60, 1)
        join = Join(Places("north", kit, state=tmp_path / "state").open())
        with pytest.raises(CertificateDates, match="not valid now"):
            join.run()
        join._connected = True
        threading.Timer(1.0, join._stop.set).start()
        with pytest.raises(Interrupted, match="as asked"):
            join.run()
    assert "waiting for the server: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"doing": "reading"}, "reading the records"),
        ({"doing": "from-cache"}, "the records are as they were: their de-identified copy is used"),
        ({"doing": "preparing", "because": "new"}, "de-identifying the records"),
        (
            {"doing": "preparing", "because": "changed"},
            "de-identifying the records (records, settings or version changed)",
        ),
        (
            {"doing": "preparing", "because": "damaged"},
            "de-identifying the records (the copy on disk is damaged)",
        ),
        ({"doing": "not-cached", "reason": "too large"}, "the de-identified copy is not kept: too large"),
        (
            {"doing": "splitting", "known": 80, "placed": 3, "set_aside": 1},
            "split: 3 patients placed, 80 keep their side; 1 records on neither side",
        ),
    ],
    ids=lambda value: value["doing"] if isinstance(value, dict) else "",
)
def test_what_is_done_with_the_records_is_said(
    event: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "en")
    set_language(None)
    assert event["doing"] in RECORDS
    assert about_records(event) == said
