"""How long `emr-fl data check` takes: `python tests/benchmarks/data_check.py [RECORDS] [CHARACTERS]`.

Makes a sample site of 85,000 records, lengthens its notes with sentences of other notes to 200 characters each, and checks it.
"""

from __future__ import annotations

import csv
import random
import sys
import tempfile
import time
from pathlib import Path

from emr_fl_deploy.corpus import synthesise
from emr_fl_shared.memory import peak_rss_mb
from emr_fl_shared.quality import Source, check_files
from emr_fl_shared.records import note_text
from emr_fl_shared.sources import read_records


def lengthened(source: Path, target: Path, characters: int) -> None:
    """Write the export with present illnesses that make each note about as long as wanted."""
    draw = random.Random(0)
    with source.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = csv.reader(stream)
    at = [header.index(name) for name in ("主诉", "现病史", "既往史")]
    sentences = [sentence for row in rows for sentence in row[at[1]].split("。") if sentence]
    for row in rows:
        while sum(len(row[index]) for index in at) < characters:
            row[at[1]] += draw.choice(sentences) + "。"
    with target.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def main(records: int = 85_000, characters: int = 200) -> None:
    with tempfile.TemporaryDirectory() as folder:
        synthesise(Path(folder) / "sample", sites=1, records=records, seed=7)
        path = Path(folder) / "export.csv"
        lengthened(Path(folder) / "sample/sites/hospital-a.csv", path, characters)
        notes = [len(note_text(record)) for record in read_records(path)[0]]
        wall, cpu = time.perf_counter(), time.process_time()
        report = check_files([Source(path)])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"records          {len(notes):>10,}")
    print(f"characters each  {sum(notes) / len(notes):>10.0f}")
    print(f"seconds, wall    {wall:>10.1f}")
    print(f"seconds, one core{cpu:>10.1f}")
    print(f"records a second {len(notes) / cpu:>10,.0f}")
    print(f"peak memory, MB  {peak_rss_mb():>10.0f}")
    print(
        "found            ",
        ", ".join(f"{item.key} {item.count}" for item in report.findings if item.level != "ok"),
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
