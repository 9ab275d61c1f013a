"""The split ledger: complete or refused, never built anew by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_client.dataset.ledger import LEDGER, SplitLedger
from emr_fl_client.dataset.sealed import seal
from emr_fl_shared.errors import PolicyError, StorageError

KEY = b"k" * 32
SIDES = {f"{number:032x}": number % 3 == 0 for number in range(40)}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    ledger = SplitLedger(tmp_path, KEY)
    assert ledger.read() == {}
    ledger.write(SIDES)
    assert SplitLedger(tmp_path, KEY).read() == SIDES
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER]


def test_no_pseudonym_stands_in_the_clear(tmp_path: Path) -> None:
    SplitLedger(tmp_path, KEY).write(SIDES)
    content = (tmp_path / LEDGER).read_bytes()
    for patient in SIDES:
        assert patient.encode() not in content and bytes.fromhex(patient) not in content
    assert b"training" not in content


def refused(folder: Path, key: bytes = KEY) -> PolicyError:
    before = (folder / LEDGER).read_bytes()
    with pytest.raises(PolicyError) as caught:
        SplitLedger(folder, key).read()
    assert (folder / LEDGER).read_bytes() == before
    assert caught.value.where == str(folder / LEDGER) and caught.value.do
    return caught.value


def test_any_changed_byte_and_any_shorter_file_is_refused(tmp_path: Path) -> None:
    SplitLedger(tmp_path, KEY).write(dict(list(SIDES.items())[:3]))
    whole = (tmp_path / LEDGER).read_bytes()
    for at in range(len(whole)):
        for changed in (whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :], whole[:at]):
            (tmp_path / LEDGER).write_bytes(changed)
            assert "damaged" in refused(tmp_path).message


def test_another_key_is_refused_and_nothing_of_the_ledger_is_said(tmp_path: Path) -> None:
    SplitLedger(tmp_path, KEY).write(SIDES)
    message = refused(tmp_path, b"j" * 32).render()
    assert "another key" in message and "backup" in message
    assert not any(patient in message for patient in SIDES)


def test_another_version_is_refused(tmp_path: Path) -> None:
    content = seal([b'{"version": 2, "training": [], "validation": []}'], KEY, "split ledger")
    (tmp_path / LEDGER).write_bytes(b"".join(content))
    error = refused(tmp_path)
    assert (error.got, error.expected) == ("2", "1")


def test_a_ledger_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / LEDGER).mkdir()
    with pytest.raises(StorageError):
        SplitLedger(tmp_path, KEY).read()
