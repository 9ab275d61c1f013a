"""The chained log: every change shows, a power cut is mended, and nothing counts before it is on disk."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from emr_fl_shared import chain
from emr_fl_shared.chain import NOTHING, Chain, Signer, head_path, read_chain
from emr_fl_shared.errors import DataError, PolicyError, StorageError

KEY, OTHER = (Signer(ec.derive_private_key(number, ec.SECP384R1())) for number in (7, 8))
COUNT = 5


def filled(folder: Path, signer: Signer | None = KEY, count: int = COUNT) -> Chain:
    log = Chain(folder / "egress.jsonl", "north", signer, clock=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC))
    for number in range(count):
        log.append("trained", {"round": number + 1, "text": "第一轮"})
    return log


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The bytes of a log and of its head."""
    log = filled(tmp_path_factory.mktemp("pristine"))
    return log.path.read_bytes(), head_path(log.path).read_bytes()


def problems(folder: Path, log: bytes, head: bytes, **given: str) -> list[str]:
    path = folder / "egress.jsonl"
    path.write_bytes(log)
    head_path(path).write_bytes(head)
    return read_chain(path, **given).problems


def test_entries_follow_each_other(tmp_path: Path) -> None:
    log = filled(tmp_path)
    entries = log.entries()
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[0]["previous"] == NOTHING and entries[0]["time"] == "2026-03-01T12:00:00+0000"
    assert entries[2]["text"] == "第一轮" and entries[2]["kind"] == "trained"
    found = read_chain(log.path, public=KEY.public)
    assert (found.problems, found.entries) == ([], entries)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    again = Chain(log.path, "north", KEY).append("evaluated", {})
    assert again["seq"] == 6 and read_chain(log.path).problems == []


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_shows(
    tmp_path_factory: pytest.TempPathFactory, pristine: tuple[bytes, bytes], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, 1))
    changed = [bytearray(part) for part in pristine]
    place = data.draw(st.integers(0, len(changed[which]) - 1))
    changed[which][place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    assert problems(folder, bytes(changed[0]), bytes(changed[1]))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_lines_left_out_moved_put_in_or_cut_off_show(
    tmp_path_factory: pytest.TempPathFactory, pristine: tuple[bytes, bytes], data: st.DataObject
) -> None:
    lines = pristine[0].splitlines(keepends=True)
    how = data.draw(st.sampled_from(["delete", "swap", "insert", "truncate", "forge"]))
    first = data.draw(st.integers(0, COUNT - 1))
    if how == "delete":
        del lines[first]
    elif how == "swap":
        second = data.draw(st.integers(0, COUNT - 1).filter(lambda n: n != first))
        lines[first], lines[second] = lines[second], lines[first]
    elif how == "insert":
        lines.insert(first, lines[data.draw(st.integers(0, COUNT - 1))])
    elif how == "truncate":
        lines = lines[:first]
    else:  # a whole log that hangs together, with the old head
        folder = tmp_path_factory.mktemp("forged")
        lines = (
            filled(folder, signer=None, count=first).path.read_bytes().splitlines(keepends=True)
            if first
            else []
        )
    folder = tmp_path_factory.getbasetemp() / "moved"
    folder.mkdir(exist_ok=True)
    assert problems(folder, b"".join(lines), pristine[1])


@pytest.mark.parametrize(
    "change", [{"seq": 4}, {"log": "south"}, {"hash": "1" * 64}, {"size": 10}, {"key": ""}]
)
def test_a_head_that_somebody_wrote_without_the_key_shows(
    tmp_path: Path, pristine: tuple[bytes, bytes], change: dict[str, object]
) -> None:
    assert problems(tmp_path, pristine[0], pristine[1] + b"\n")
    head = json.loads(pristine[1]) | change
    assert problems(tmp_path, pristine[0], json.dumps(head, ensure_ascii=False).encode() + b"\n")


def test_a_log_of_another_key_shows_and_so_does_one_without_a_signature(tmp_path: Path) -> None:
    log = filled(tmp_path, OTHER)
    assert read_chain(log.path).problems == []
    (problem,) = read_chain(log.path, public=KEY.public).problems
    assert "signed with another key" in problem
    plain = filled(tmp_path / "plain", None)
    assert read_chain(plain.path).problems == [] and read_chain(plain.path).key == ""
    assert read_chain(plain.path, public=KEY.public).problems


def test_a_plain_chain_shows_changes_too(tmp_path: Path) -> None:
    log = filled(tmp_path, None)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole.replace(b'"round": 3', b'"round": 9'))
    assert read_chain(log.path).problems
    log.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert read_chain(log.path).problems


@pytest.mark.parametrize(
    "how", ["changed", "last changed", "cut off", "gone", "head gone", "head of another"]
)
def test_nothing_is_appended_to_a_log_that_was_tampered_with(tmp_path: Path, how: str) -> None:
    log = filled(tmp_path)
    whole = log.path.read_bytes()
    if how == "changed":
        log.path.write_bytes(whole.replace(b'"round": 2', b'"round": 7'))
        with pytest.raises(PolicyError, match="line 3 does not follow"):
            log.entries()
        return
    if how == "last changed":
        log.path.write_bytes(whole.replace(b'"round": 5', b'"round": 7'))
    elif how == "cut off":
        log.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    elif how == "gone":
        log.path.unlink()
    elif how == "head gone":
        head_path(log.path).unlink()
    else:
        log = Chain(log.path, "south", KEY)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PolicyError, match="not as it was written") as caught:
        log.append("trained", {})
    assert caught.value.exit_code == 3
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("length", [1, 40, -1, None])
def test_what_a_power_cut_left_is_put_aside_and_noted(tmp_path: Path, length: int | None) -> None:
    log = filled(tmp_path, count=2)
    head = head_path(log.path).read_bytes()
    log.append("trained", {"round": 3})
    line = log.path.read_bytes().splitlines(keepends=True)[2]
    whole = log.path.read_bytes()[: -len(line)]
    # the power went while the line was written, or before its head was
    log.path.write_bytes(whole + line[:length])
    head_path(log.path).write_bytes(head)
    (problem,) = read_chain(log.path).problems
    assert "nothing of them was acted upon" in problem
    entry = Chain(log.path, "north", KEY).append("trained", {"round": 3})
    entries = log.entries()
    assert entry["seq"] == 4 and [e["kind"] for e in entries] == [
        "trained",
        "trained",
        "recovered",
        "trained",
    ]
    assert entries[2]["bytes"] == len(line[:length])
    assert (tmp_path / entries[2]["file"]).read_bytes() == line[:length]
    assert read_chain(log.path, public=KEY.public).problems == []


@pytest.mark.parametrize("nth", [1, 2], ids=["the line", "the head"])
def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    log = filled(tmp_path, count=2)
    before = log.path.read_bytes(), head_path(log.path).read_bytes()
    real, calls = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(chain.os, "write", full)
        with pytest.raises(StorageError, match="disk is full"):
            log.append("trained", {})
    assert (log.path.read_bytes(), head_path(log.path).read_bytes()) == before
    assert log.append("trained", {})["seq"] == 3


def test_another_key_goes_on_with_the_log_and_says_so(tmp_path: Path) -> None:
    log = filled(tmp_path, count=2)
    renewed = Chain(log.path, "north", OTHER)
    renewed.append("trained", {"round": 3})
    entries = renewed.entries()
    assert [entry["kind"] for entry in entries] == ["trained", "trained", "key", "trained"]
    assert {entries[2]["before"], entries[2]["after"]} == {
        chain.key_fingerprint(KEY.public),
        chain.key_fingerprint(OTHER.public),
    }
    assert read_chain(log.path, public=OTHER.public).problems == []
    with pytest.raises(PolicyError, match="no key here"):
        Chain(log.path, "north").append("trained", {})


def test_receipts_of_an_older_version_are_put_aside_once(tmp_path: Path) -> None:
    old = b'{"time": "t", "kind": "described"}\n{"time": "t", "kind": "trained"}\n'
    path = tmp_path / "egress.jsonl"
    path.write_bytes(old)
    log = Chain(path, "north", KEY)
    log.append("trained", {})
    log.append("trained", {})
    assert [entry["kind"] for entry in log.entries()] == ["began", "trained", "trained"]
    began = log.entries()[0]
    assert began["lines"] == 2 and (tmp_path / began["file"]).read_bytes() == old


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such log"):
        read_chain(tmp_path / "egress.jsonl")
    assert Chain(tmp_path / "egress.jsonl", "north").entries() == []
