"""The site's own process: how it ends when it can't go on."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict

from emr_fl_client.app import client_app
from emr_fl_client.egress import Door
from emr_fl_client.join import worker
from emr_fl_client.site import Site
from emr_fl_shared.app import to_records
from emr_fl_shared.config.settings import Policy, SiteSettings
from emr_fl_shared.errors import StorageError
from emr_fl_shared.wire import DESCRIBE, DescribeRequest, pack


@pytest.fixture(autouse=True)
def flower_identity() -> None:
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


def test_a_full_disk_ends_the_process_with_its_reason_and_nothing_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def run(_: dict[str, Any]) -> int:
        settings = SiteSettings(source=str(tmp_path / "missing.csv"))
        site = Site("north", settings, tmp_path, b"k" * 32)
        door = Door("north", Policy(), tmp_path / "egress.jsonl")
        message = Message(to_records(pack(DescribeRequest(run="r", label_names=True))), 2, DESCRIBE)
        message.metadata.__dict__["_message_id"] = "1"
        monkeypatch.setattr("emr_fl_shared.chain.os.write", full)
        try:
            client_app(lambda _: (site, door))(message, Context(1, 2, {}, RecordDict(), {}))
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(os, "_exit", ended.append)
        raise AssertionError("an answer left")

    ended: list[int] = []
    monkeypatch.setattr(sys, "argv", ["worker", json.dumps({"lang": "en"})])
    monkeypatch.setattr(worker, "run", run)
    worker.main()
    (event,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (event["doing"], event["code"]) == ("failed", 1)
    for said in ("nothing was sent", "egress.jsonl", "the disk is full"):
        assert said in event["reason"]
    assert ended == [1]
    assert not (tmp_path / "egress.jsonl").exists()


def test_a_receipt_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = tmp_path / "egress.jsonl"
    door = Door("north", Policy(), receipts)
    message = Message(RecordDict(), 2, DESCRIBE)
    message.metadata.__dict__["_message_id"] = "1"
    door.failed(message, ValueError())
    before = receipts.read_bytes()
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr("emr_fl_shared.chain.os.write", lambda at, data: write(at, data[:7]))
        with pytest.raises(StorageError, match="nothing was sent"):
            door.failed(message, ValueError())
    assert receipts.read_bytes() == before
