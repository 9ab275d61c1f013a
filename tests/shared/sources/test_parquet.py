"""Parquet: typed values as text, batch by batch."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from emr_fl_shared.errors import DataError
from emr_fl_shared.sources import iter_records, parquet, read_headers, read_records

SECRET = "绝密患者甲乙丙"


def write(path: Path, columns: dict[str, object], **options: int) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_typed_values_as_text(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        {
            "患者ID": pyarrow.array([110101199003077512, 110101199003077534], pyarrow.int64()),
            "就诊日期": pyarrow.array([date(2026, 3, 1), None], pyarrow.date32()),
            "年龄": pyarrow.array([45.0, 0.5]),
            "主诉": pyarrow.array(["咳", "痛"]).dictionary_encode(),
            "现病史": pyarrow.array([b"\xe5\x92\xb3", b"\xff\xfe"]),
            "既往史": pyarrow.array([Decimal("38.50"), None]),
            "标签": pyarrow.array([["胃炎、胃溃疡", "x"], ["y"]]),
            "床号": pyarrow.array([datetime(2026, 3, 1, 8, 30), datetime(2026, 3, 1)]),
        },
    )
    records, report = read_records(path)
    assert [record.patient_id for record in records] == ["110101199003077512", "110101199003077534"]
    assert [record.visit_date for record in records] == ["2026-03-01", ""]
    assert [record.age for record in records] == ["45", "0.5"]
    assert [record.present_illness for record in records] == ["咳", ""]
    assert records[0].past_history == "38.50"
    assert [record.labels for record in records] == [("胃炎、胃溃疡", "x"), ("y",)]
    assert [record.identifiers["bed"] for record in records] == ["2026-03-01 08:30:00", "2026-03-01"]
    assert (report.format, report.repaired) == ("parquet", {"binary_value": 1})
    assert read_headers(path)[0] == "患者ID"


def test_rows_come_before_the_whole_file_is_read(tmp_path: Path) -> None:
    texts = [f"咳{number}" for number in range(parquet.BATCH * 3)]
    path = write(tmp_path / "a.parquet", {"主诉": texts, "标签": ["x"] * len(texts)}, row_group_size=1000)
    records, report = iter_records(path)
    next(records)
    assert report.rows == 1
    assert len(list(records)) == len(texts) - 1


def test_the_magic_decides_and_not_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"主诉": ["咳"], "标签": ["x"]})
    assert read_records(path)[1].format == "parquet"


def test_no_rows_and_no_columns_that_fit(tmp_path: Path) -> None:
    assert "empty" in refused(write(tmp_path / "a.parquet", {"主诉": pyarrow.array([], pyarrow.string())}))
    assert "no text column" in refused(write(tmp_path / "b.parquet", {"甲": [SECRET]}))
    assert "none of 1 rows" in refused(write(tmp_path / "c.parquet", {"主诉": [SECRET], "标签": [""]}))


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + bytes(500) + b"PAR1", b"text\n" * 9],
    ids=["empty", "magic", "zeros", "text"],
)
def test_what_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    message = refused(path)
    assert "damaged" in message or "empty" in message


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_damage_in_the_middle(tmp_path: Path, share: float) -> None:
    texts = [f"咳{number}{SECRET}" for number in range(20_000)]
    path = write(tmp_path / "a.parquet", {"主诉": texts, "标签": ["x"] * len(texts)})
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 2000] = bytes(2000)
    path.write_bytes(data)
    assert "damaged" in refused(path)


def test_a_row_group_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "LARGEST_CHUNK", 1000)
    texts = [f"咳{number}" for number in range(1000)]
    assert "row group" in refused(write(tmp_path / "a.parquet", {"主诉": texts, "标签": texts}))
