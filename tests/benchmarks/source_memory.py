"""Peak memory and time of reading many records one by one, each kind in a program of its own.

python tests/benchmarks/source_memory.py [--rows 1000000] [--kinds csv sqlite jsonl parquet xlsx]
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HEADER = ["患者ID", "就诊日期", "科室", "性别", "年龄", "主诉", "现病史", "既往史", "诊断编码"]
KINDS = ("csv", "sqlite", "jsonl", "parquet", "xlsx")


def rows(count: int) -> Iterator[list[str]]:
    """Invented rows of about 200 characters, the same every time."""
    draw = random.Random(7)
    words = [
        "咳嗽",
        "发热",
        "头痛三天",
        "无恶心呕吐",
        "伴胸闷",
        "腹痛，",
        "乏力。",
        "夜间加重",
        "受凉后出现",
        "血压偏高",
    ]
    for number in range(count):
        history = "".join(draw.choices(words, k=45))
        yield [
            f"{number // 2:010d}",
            "2026-03-01",
            "内科",
            "女",
            "45",
            draw.choice(words),
            history,
            "无",
            "J06.900",
        ]


def write(kind: str, path: Path, count: int) -> None:
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerow(HEADER)
            csv.writer(stream).writerows(rows(count))
    elif kind == "jsonl":
        with path.open("w", encoding="utf-8") as stream:
            for row in rows(count):
                stream.write(json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) + "\n")
    elif kind == "sqlite":
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE visits ({', '.join(f'{name} TEXT' for name in HEADER)})")
            connection.executemany(f"INSERT INTO visits VALUES ({', '.join('?' * len(HEADER))})", rows(count))
        connection.close()
    elif kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        schema = pyarrow.schema([(name, pyarrow.string()) for name in HEADER])
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            batch: list[dict[str, str]] = []
            for row in rows(count):
                batch.append(dict(zip(HEADER, row, strict=True)))
                if len(batch) == 20_000:
                    writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                    batch = []
            if batch:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    else:
        import xlsxwriter

        with xlsxwriter.Workbook(path, {"constant_memory": True, "strings_to_numbers": False}) as book:
            sheet = book.add_worksheet()
            sheet.write_row(0, 0, HEADER)
            for number, row in enumerate(rows(count), 1):
                sheet.write_row(number, 0, row)


def read(source: str, table: str) -> None:
    """Read everything once and print records, seconds and MB (at the start, at the peak)."""
    from emr_fl_shared.sources import Source, iter_records

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.monotonic()
    records, _ = iter_records(Source(source, table=table))
    count = sum(1 for _ in records)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"records": count, "s": time.monotonic() - began, "start": before, "peak": peak}))


def measure(kind: str, count: int, folder: Path) -> dict[str, float]:
    """Write `count` rows of a kind and read them in a new program."""
    path = folder / f"visits.{'db' if kind == 'sqlite' else kind}"
    # in a program of its own: a program begins with the peak of the one that started it
    subprocess.run(
        [sys.executable, "-P", __file__, "--write", kind, str(path), "--rows", str(count)], check=True
    )
    source, table = (f"sqlite:///{path}", "visits") if kind == "sqlite" else (str(path), "")
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--read", source, table], check=True, capture_output=True, text=True
    )
    size = path.stat().st_size / 2**20
    path.unlink()
    return {"file": size, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--read", nargs=2)
    parser.add_argument("--write", nargs=2)
    given = parser.parse_args()
    if given.write:
        write(given.write[0], Path(given.write[1]), given.rows)
        return
    if given.read:
        read(*given.read)
        return
    print(
        "| kind | records | file MB | seconds | records/s | MB at start | MB at peak |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in given.kinds:
            found = measure(kind, given.rows, Path(folder))
            print(
                f"| {kind} | {found['records']} | {found['file']:.0f} | {found['s']:.1f} | {found['records'] / found['s']:,.0f} "
                f"| {found['start']:.0f} | {found['peak']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
