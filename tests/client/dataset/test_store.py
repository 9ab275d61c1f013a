"""A site's records from the source to both sides, with and without what is kept on disk."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import growing_files as growing
from emr_fl_client.dataset.cache import PreparedCache
from emr_fl_client.dataset.ledger import LEDGER, SplitLedger
from emr_fl_client.site import Site, SiteData
from emr_fl_shared import durable
from emr_fl_shared.config.settings import SiteSettings, Training
from emr_fl_shared.errors import DataError, PolicyError, StorageError
from emr_fl_shared.labels import load_taxonomy

KEY = b"k" * 32
TAXONOMY = load_taxonomy("outpatient-50")
HEADER = ["患者ID", "就诊日期", "患者姓名", "联系电话", "身份证号", "主诉", "现病史", "诊断编码"]
CODES = ["J06.900", "I10.x00", "E11.900", "K29.500", "M54.500"]
WORDS = ["受凉后出现咳嗽咳痰", "劳累后头晕乏力", "进食后上腹隐痛", "久坐后腰部酸痛", "口干多饮多尿"]


def row(number: int) -> list[str]:
    """Patient `number // 2`; every identifier is unlike any other and stands in the text as well."""
    patient = number // 2
    name, phone = f"欧阳{chr(0x5B50 + patient)}宁", f"139{patient:08d}"
    card = f"11010119800101{patient:04d}"
    text = f"患者{name}，电话{phone}，{WORDS[patient % 5]}，第{number}次就诊，自述如{chr(0x6C34 + patient) * 2}般不适，{'，'.join(WORDS[patient % 4 :])}。"
    return [
        f"P{patient:05d}",
        f"2023-{1 + number % 12:02d}-05",
        name,
        phone,
        card,
        WORDS[number % 5],
        text,
        CODES[patient % 5],
    ]


def export(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *rows])
    return path


ROWS = [row(number) for number in range(160)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return export(tmp_path / "records.csv", ROWS)


def data_of(
    source: Path, state: Path, key: bytes = KEY, *, seed: int = 0, **training: Any
) -> tuple[SiteData, list[dict[str, Any]]]:
    """The site's data in a new process, so to speak, and what was said on the way."""
    told: list[dict[str, Any]] = []
    site = Site("a", SiteSettings(source=str(source)), state, key, told.append)
    return site.data(TAXONOMY, Training(**training), seed), told


def same(first: SiteData, second: SiteData) -> bool:
    return (
        first.prepared.texts == second.prepared.texts
        and first.prepared.patients == second.prepared.patients
        and np.array_equal(first.prepared.labels, second.prepared.labels)
        and np.array_equal(first.prepared.months, second.prepared.months)
        and first.prepared.identifiers == second.prepared.identifiers
        and first.prepared.dropped == second.prepared.dropped
        and all(
            np.array_equal(getattr(first, name), getattr(second, name))
            for name in ("train", "validation", "present")
        )
    )


def doing(told: list[dict[str, Any]]) -> list[str]:
    return [event["doing"] + (f": {event['because']}" if "because" in event else "") for event in told]


PREPARED = ["reading", "preparing: new", "splitting"]
FOUND = ["reading", "from-cache", "splitting"]


def entry(state: Path) -> Path:
    (path,) = (state / "dataset").glob("prepared-*.sealed")
    return path


def test_the_next_process_finds_the_same_data(source: Path, tmp_path: Path) -> None:
    first, told = data_of(source, tmp_path / "state")
    assert doing(told) == PREPARED
    assert told[-1] == {"doing": "splitting", "known": 0, "placed": 80, "set_aside": 0}
    second, told = data_of(source, tmp_path / "state")
    assert doing(told) == FOUND
    assert told[-1] == {"doing": "splitting", "known": 80, "placed": 0, "set_aside": 0}
    elsewhere, _ = data_of(source, tmp_path / "other")
    assert same(first, second) and same(first, elsewhere)
    assert len(first.validation) and len(first.train)


def test_another_kind_of_file_with_the_same_records_is_found(source: Path, tmp_path: Path) -> None:
    data_of(source, tmp_path / "state")
    other = tmp_path / "records.tsv"
    with other.open("w", encoding="gb18030", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows([HEADER, *ROWS])
    assert doing(data_of(other, tmp_path / "state")[1]) == FOUND


def test_no_one_changes_sides_when_rows_are_appended_and_shuffled(source: Path, tmp_path: Path) -> None:
    first, _ = data_of(source, tmp_path / "state", validation_share=0.2)
    rows = [row(number) for number in range(400)]
    np.random.default_rng(0).shuffle(rows)
    export(source, rows)
    second, told = data_of(source, tmp_path / "state", validation_share=0.2)
    assert doing(told) == ["reading", "preparing: changed", "splitting"]
    assert (told[-1]["known"], told[-1]["placed"]) == (80, 120)
    for side in ("train", "validation"):
        before = {first.prepared.patients[at] for at in getattr(first, side)}
        after = {second.prepared.patients[at] for at in getattr(second, side)}
        assert before <= after
    y = second.prepared.labels
    shares = y[second.validation].sum(axis=0) / np.maximum(y.sum(axis=0), 1)
    assert (np.abs(shares[y.any(axis=0)] - 0.2) < 0.05).all()
    assert len(list((tmp_path / "state" / "dataset").glob("prepared-*"))) == 1


def test_a_row_inserted_above_changes_no_side_of_records_without_a_patient(tmp_path: Path) -> None:
    def write(rows: list[list[str]]) -> Path:
        path = tmp_path / "plain.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([["主诉", "诊断编码"], *rows])
        return path

    rows = [[f"咳嗽{number}天", CODES[number % 5]] for number in range(60)] + [["咳嗽", "J06.900"]] * 3
    first, _ = data_of(write(rows), tmp_path / "state")
    second, told = data_of(write([["头痛", "I10"], *rows]), tmp_path / "state")
    assert told[-1]["placed"] == 1
    held = [[data.prepared.texts[at] for at in data.validation] for data in (first, second)]
    assert held[0] and set(held[0]) <= set(held[1])


@pytest.mark.parametrize(
    ("training", "seed"),
    [({"validation_share": 0.3}, 0), ({}, 5), ({"split": "time"}, 0)],
    ids=["share", "seed", "kind"],
)
def test_no_setting_of_a_later_federation_moves_anyone(
    source: Path, tmp_path: Path, training: dict[str, Any], seed: int
) -> None:
    first, _ = data_of(source, tmp_path / "state")
    second, told = data_of(source, tmp_path / "state", seed=seed, **training)
    assert told[-1]["placed"] == 0
    assert set(second.validation) <= set(first.validation) and set(second.train) <= set(first.train)


def test_by_time(source: Path, tmp_path: Path) -> None:
    data, _ = data_of(source, tmp_path / "state", split="time", validation_share=0.4)
    months = data.prepared.months
    assert len(data.validation) and months[data.train].max() < months[data.validation].min()
    assert months.min() == 2023 * 12 and months.max() == 2023 * 12 + 11


def test_by_time_without_dates_is_refused(tmp_path: Path) -> None:
    source = export(tmp_path / "r.csv", [[*line[:1], "", *line[2:]] for line in ROWS])
    with pytest.raises(DataError, match="two months") as caught:
        data_of(source, tmp_path / "state", split="time")
    assert caught.value.got == "0 of 160 records with a date"
    assert not (tmp_path / "state" / "dataset" / LEDGER).exists()


# --- damage -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["byte", "torn", "empty", "other key"])
def test_a_damaged_cache_is_prepared_anew_and_said(source: Path, tmp_path: Path, how: str) -> None:
    state = tmp_path / "state"
    first, _ = data_of(source, state)
    path = entry(state)
    whole = path.read_bytes()
    if how == "other key":
        other = tmp_path / "other"
        data_of(source, other, b"j" * 32)
        path.write_bytes(entry(other).read_bytes())
    else:
        changed = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        path.write_bytes({"byte": changed, "torn": whole[: len(whole) // 2], "empty": b""}[how])
    second, told = data_of(source, state)
    assert doing(told) == ["reading", "preparing: damaged", "splitting"]
    assert same(first, second)
    assert doing(data_of(source, state)[1]) == FOUND


@pytest.mark.parametrize("how", ["byte", "torn", "empty"])
def test_a_damaged_ledger_stops_the_site_and_stays_as_it_is(source: Path, tmp_path: Path, how: str) -> None:
    state = tmp_path / "state"
    data_of(source, state)
    path = state / "dataset" / LEDGER
    whole = path.read_bytes()
    changed = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    path.write_bytes({"byte": changed, "torn": whole[:100], "empty": b""}[how])
    before = path.read_bytes()
    with pytest.raises(PolicyError, match="split ledger is damaged"):
        data_of(source, state)
    assert path.read_bytes() == before


def test_another_key_finds_no_cache_and_refuses_the_ledger(source: Path, tmp_path: Path) -> None:
    data_of(source, tmp_path / "state")
    with pytest.raises(PolicyError, match="another key"):
        data_of(source, tmp_path / "state", b"j" * 32)


def test_a_full_disk_costs_the_cache_but_not_the_ledger(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that can't be written is said; a split that can't be written down is not used."""
    state, real = tmp_path / "state", os.write

    def full(limit: int) -> None:
        def write(descriptor: int, data: bytes) -> int:
            if len(data) > limit:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data)

        monkeypatch.setattr(durable.os, "write", write)

    full(8000)
    first, told = data_of(source, state)
    assert doing(told) == ["reading", "preparing: new", "not-cached", "splitting"]
    assert "disk is full" in told[2]["reason"]
    assert sorted(path.name for path in (state / "dataset").iterdir()) == [".lock", LEDGER]
    full(10)
    with pytest.raises(StorageError, match="disk is full"):
        data_of(source, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other" / "dataset").iterdir()] == [".lock"]
    monkeypatch.undo()
    assert same(first, data_of(source, state)[0])


# --- kill -9 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cache", "ledger"])
def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path: Path, what: str) -> None:
    """Killed at eight moments of an endless rewriting and on, until one was in the middle of a write (a partial file is left)."""
    command = [sys.executable, growing.__file__, str(tmp_path), what]
    SplitLedger(tmp_path, KEY).write(growing.sides(0))
    PreparedCache(tmp_path, KEY).keep("a", growing.prepared(0))
    partial = 0
    for attempt in range(60):
        if attempt >= 8 and partial:
            break
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
            deadline = time.monotonic() + 20
            if attempt % 2:  # as soon as a write is seen
                while not list(tmp_path.glob(".*.part")) and time.monotonic() < deadline:
                    pass
            else:
                time.sleep(0.006 * attempt)
            writer.send_signal(signal.SIGKILL)
        partial += bool(durable.discard_partial(tmp_path))
        known = SplitLedger(tmp_path, KEY).read()
        version = int(next(iter(known))[:16], 16)
        assert known == growing.sides(version)
        found = PreparedCache(tmp_path, KEY).find("a")
        assert found is not None
        assert found.texts == growing.prepared(found.leaks).texts and (found.months == found.leaks).all()
    assert partial, "no kill fell into a write: the test shows nothing"


# --- nothing in the clear ------------------------------------------------------------------------------------------------------


def written_forms(text: str) -> list[bytes]:
    return [text.encode(encoding) for encoding in ("utf-8", "gb18030", "utf-16-le", "utf-32-le")] + [
        json.dumps(text)[1:-1].encode()
    ]


def test_neither_identifiers_nor_texts_lie_in_the_clear(source: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    data, _ = data_of(source, state)
    data_of(source, state)
    assert data.prepared.identifiers.total() >= 300
    everything = b"\n".join(
        str(path.relative_to(state)).encode() + b"\n" + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(state.rglob("*"))
    )
    assert len(everything) > 20_000
    wanted = {cell for line in ROWS for cell in line[:6]} | set(WORDS) | set(CODES)
    wanted |= (
        set(data.prepared.texts) | {text[:12] for text in data.prepared.texts} | {"[PATIENT_NAME]", "[PHONE]"}
    )
    wanted |= set(data.prepared.patients) | {label.name for label in TAXONOMY.labels}
    for text in wanted:
        for form in written_forms(text):
            assert len(form) < 4 or form not in everything
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.rglob("*"))


def test_the_search_of_the_state_folder_would_find_a_text(source: Path, tmp_path: Path) -> None:
    """The same search over what was sealed finds what it must not find on disk."""
    from emr_fl_client.dataset.sealed import unseal

    state = tmp_path / "state"
    data, _ = data_of(source, state)
    path = entry(state)
    content = unseal(path, KEY, f"prepared records|{path.name[9:-7]}")
    assert data.prepared.texts[0].encode() in content and data.prepared.patients[0].encode() in content
    assert not any(line[cell].encode() in content for line in ROWS for cell in (0, 2, 3, 4)), (
        "raw identifiers"
    )


def test_processes_at_the_same_time_prepare_once(source: Path, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import json, sys
        from pathlib import Path
        from emr_fl_client.site import Site
        from emr_fl_shared.config.settings import SiteSettings, Training
        from emr_fl_shared.labels import load_taxonomy
        told = []
        site = Site("a", SiteSettings(source={str(source)!r}), Path({str(tmp_path / "state")!r}), b"k" * 32, told.append)
        data = site.data(load_taxonomy("outpatient-50"), Training(), 0)
        print(json.dumps([told[1]["doing"], data.validation.tolist()]))
        """
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert sorted(answer[0] for answer in answers) == ["from-cache", "from-cache", "preparing"]
    assert answers[0][1] == answers[1][1] == answers[2][1]
