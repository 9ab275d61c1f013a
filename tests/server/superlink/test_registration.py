"""The supervisor's list of nodes follows the registry and the clock; a real SuperLink holds them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from emr_fl_server.superlink import supervisor as module
from emr_fl_server.superlink.link import SuperLink
from emr_fl_server.superlink.presence import FilePresence, read_nodes
from emr_fl_server.superlink.supervisor import Server
from emr_fl_shared.kit import ServerKit, read_server_kit
from emr_fl_shared.loopback import make_loopback
from public_port import make_kits, sign_registry


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Server]:
    kits = make_kits(tmp_path / "kits", 9)
    given = Server(read_server_kit(kits / "server"), tmp_path / "run", "127.0.0.1", 9)
    given.folder.mkdir(parents=True)
    given.link = SuperLink(given.folder, make_loopback(given.folder))
    given._registry = given.kit.registry()
    given.link.start()
    try:
        yield given
    finally:
        given.link.stop()


def fingerprint(kit: ServerKit, site: str) -> str:
    entry = kit.registry().entry_of(site)
    assert entry is not None
    return entry.fingerprint


def test_only_keys_that_are_valid_now_have_a_node(
    supervisor: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "REGISTRY_SECONDS", 0.0)
    north, south, expired = (fingerprint(supervisor.kit, site) for site in ("north", "south", "expired"))
    supervisor._register()
    before = read_nodes(supervisor.folder)
    assert set(before) == {north, south}

    def until(moment: datetime) -> Any:
        def change(document: dict[str, Any]) -> None:
            entry = next(entry for entry in document["sites"] if entry["fingerprint"] == north)
            entry["not_after"] = moment.isoformat()

        sign_registry(supervisor.kit.folder.parent, change)
        supervisor._follow_registry()

    until(datetime.now(UTC) + timedelta(hours=1))
    assert read_nodes(supervisor.folder) == before, "a key that is still valid keeps its node"

    # the same registry, an hour later: nobody writes a file, the key runs out by itself
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1, minutes=-1)

    class MuchLater(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1, minutes=1)

    capsys.readouterr()
    monkeypatch.setattr(module, "datetime", Later)
    supervisor._follow_registry()
    assert fingerprint(supervisor.kit, "north") in read_nodes(supervisor.folder)
    monkeypatch.setattr(module, "datetime", MuchLater)
    supervisor._follow_registry()
    after = read_nodes(supervisor.folder)
    assert north not in after and after[south] == before[south] and expired not in after
    assert FilePresence(supervisor.folder).struck_off(before[north])
    assert capsys.readouterr().err == "north: its kit has expired\n"

    monkeypatch.undo()
    monkeypatch.setattr(module, "REGISTRY_SECONDS", 0.0)
    until(datetime.now(UTC) + timedelta(days=1))
    assert read_nodes(supervisor.folder) == before, "renewed with the same key: it may join again"
