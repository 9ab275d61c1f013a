"""The sealed cache of prepared records: right or not found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emr_fl_client.dataset import cache as cache_module
from emr_fl_client.dataset.cache import PreparedCache, preparation_version, recognisers_version
from emr_fl_shared.deidentify import registry
from emr_fl_shared.errors import StorageError
from emr_fl_shared.labels import load_taxonomy
from emr_fl_shared.preparation import Prepared
from emr_fl_shared.records import Record

KEY = b"k" * 32
TAXONOMY = load_taxonomy("outpatient-50")
RECORDS = [
    Record(
        record_id="1", patient_id="P1", text="咳嗽3天", labels=("上呼吸道感染",), identifiers={"name": "张三"}
    ),
    Record(record_id="2", patient_id="P2", text="头痛 \ud800", diagnosis_codes=("I10",)),
]


def prepared(**changes: Any) -> Prepared:
    values = {
        "texts": ["咳嗽3天", "", "头痛[DATE]\n𠮷 ab\ud800"],
        "labels": np.eye(3, 11, dtype=np.bool_),
        "patients": ["0" * 32, "f" * 32, "row-3"],
        "months": np.array([24276, -1, 0], dtype=np.int32),
        "identifiers": Counter({"PHONE": 2}),
        "dropped": Counter({"no-label": 1}),
        "unmapped": Counter({"not-in-taxonomy": 3}),
        "leaks": 4,
        **changes,
    }
    return Prepared(**values)


def same(first: Prepared | None, second: Prepared) -> bool:
    assert first is not None
    assert first.labels.dtype == second.labels.dtype and first.months.dtype == second.months.dtype
    return (
        first.texts == second.texts
        and np.array_equal(first.labels, second.labels)
        and first.patients == second.patients
        and np.array_equal(first.months, second.months)
        and (first.identifiers, first.dropped, first.unmapped, first.leaks)
        == (second.identifiers, second.dropped, second.unmapped, second.leaks)
        and all(isinstance(item, Counter) for item in (first.identifiers, first.dropped, first.unmapped))
    )


def name_of(key: bytes = KEY, records: list[Record] = RECORDS, **changes: Any) -> str:
    given = {"skipped": {}, "taxonomy": TAXONOMY, "settings": {}, **changes}
    return PreparedCache(Path("unused"), key).name(records, **given)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path, KEY)
    assert cache.find("a") is None and not cache.has("a") and not cache.has()
    assert cache.keep("a", prepared())
    assert same(PreparedCache(tmp_path, KEY).find("a"), prepared())
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("labels", [1, 7, 8, 9, 50])
def test_any_number_of_labels_survives_packing(tmp_path: Path, labels: int) -> None:
    y = np.random.default_rng(0).random((3, labels)) < 0.5
    PreparedCache(tmp_path, KEY).keep("a", prepared(labels=y))
    assert same(PreparedCache(tmp_path, KEY).find("a"), prepared(labels=y))


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path, KEY)
    cache.keep("a", prepared())
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for at in range(len(whole)):
        for changed in (whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :], whole[:at]):
            path.write_bytes(changed)
            assert cache.find("a") is None and cache.has("a")


def test_an_entry_is_not_taken_for_another(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path, KEY)
    cache.keep("a", prepared())
    (path,) = tmp_path.iterdir()
    path.rename(path.with_name(path.name.replace("-a.", "-b.")))
    assert cache.find("b") is None
    assert PreparedCache(tmp_path, b"j" * 32).find("b") is None


def test_the_newest_entry_only_stays(tmp_path: Path) -> None:
    cache = PreparedCache(tmp_path, KEY)
    for name in "abc":
        cache.keep(name, prepared())
    assert [cache.has(name) for name in "abc"] == [False, False, True]
    assert len(list(tmp_path.iterdir())) == 1


def test_too_large_an_entry_is_not_kept_nor_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PreparedCache(tmp_path, KEY)
    cache.keep("a", prepared())
    monkeypatch.setattr(cache_module, "MAX_ENTRY_BYTES", 20)
    assert not cache.keep("a", prepared())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StorageError):
        PreparedCache(tmp_path / "f", KEY).keep("a", prepared())


# --- the name -----------------------------------------------------------------------------------------------------------------


def test_equal_records_have_one_name_however_they_were_read() -> None:
    assert name_of() == name_of(
        records=[replace(record, identifiers=dict(record.identifiers)) for record in RECORDS]
    )
    two = {"name": "张三", "phone": "1"}
    orders = [dict(two.items()), dict(reversed(two.items()))]
    assert len({name_of(records=[replace(RECORDS[0], identifiers=order)]) for order in orders}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"key": b"j" * 32}, id="key"),
        pytest.param({"records": RECORDS[::-1]}, id="order"),
        pytest.param({"records": RECORDS[:1]}, id="fewer records"),
        pytest.param({"records": [replace(RECORDS[0], text="咳嗽4天"), RECORDS[1]]}, id="text"),
        pytest.param(
            {"records": [replace(RECORDS[0], text="", chief_complaint="咳嗽3天"), RECORDS[1]]}, id="field"
        ),
        pytest.param(
            {"records": [replace(RECORDS[0], identifiers={"name": "李四"}), RECORDS[1]]}, id="identifier"
        ),
        pytest.param(
            {"records": [replace(RECORDS[0], labels=("上呼吸道", "感染")), RECORDS[1]]}, id="labels"
        ),
        pytest.param(
            {"records": [RECORDS[0], replace(RECORDS[1], text="头痛 \ud801")]}, id="a lone surrogate"
        ),
        pytest.param({"skipped": {"empty_row": 1}}, id="rows left out"),
        pytest.param({"taxonomy": replace(TAXONOMY, version="9")}, id="taxonomy"),
        pytest.param({"settings": {"columns": {"text": "ZS"}}}, id="settings"),
    ],
)
def test_what_decides_the_content_decides_the_name(changes: dict[str, Any]) -> None:
    assert name_of(**changes) != name_of()


def test_another_version_of_the_code_gives_another_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = name_of()
    monkeypatch.setattr(cache_module, "preparation_version", lambda: "other")
    assert name_of() != before


def test_the_version_follows_every_word_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    import emr_fl_shared

    package = Path(emr_fl_shared.__file__).parent
    copy = Path(shutil.copytree(package, tmp_path / "p", ignore=shutil.ignore_patterns("__pycache__")))
    monkeypatch.setattr(cache_module.emr_fl_shared, "__file__", str(copy / "__init__.py"))
    preparation_version.cache_clear()
    try:
        versions = []
        for changed in (None, "resources/deidentify/surnames.txt", "deidentify/recognisers/names.py"):
            if changed:
                (copy / changed).write_text(
                    (copy / changed).read_text(encoding="utf-8") + "\n", encoding="utf-8"
                )
            preparation_version.cache_clear()
            versions.append(preparation_version())
        assert len(set(versions)) == 3
    finally:
        preparation_version.cache_clear()


def test_a_sites_own_recogniser_and_its_version_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Badge:
        name, kinds, version = "badge", ("RECORD_NUM",), "weights 1"

        def find(self, text: str, known: object) -> list[Any]:
            return []

    before = name_of()
    monkeypatch.setitem(registry._CLASSES, "badge", Badge)
    first, lines = name_of(), recognisers_version()
    assert lines[-1].startswith("badge ") and lines[-1].endswith("weights 1")
    monkeypatch.setattr(Badge, "version", "weights 2")
    assert len({before, first, name_of()}) == 3
    registry._INSTANCES.pop("badge", None)
