"""How long a site needs to its records: read and prepared, and from the sealed cache. One process, one thread.

python tests/benchmarks/preparation.py                      20,000 records, three times each; prints a table
python tests/benchmarks/preparation.py --records 85000 --repeat 1
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        print(table(*measure(Path(folder), given.records, given.repeat, given.seed)))


class Clock:
    """Seconds of each step, in the order in which they were first taken: of the wall, and of the processor, which a busy machine
    changes less."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def time(self, step: str, do: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = do()
        self.cpu.setdefault(step, []).append(time.process_time() - cpu)
        self.wall.setdefault(step, []).append(time.perf_counter() - wall)
        return result


def measure(folder: Path, records: int, repeat: int, seed: int) -> tuple[Clock, dict[str, float]]:
    """The time of each step, `repeat` times, and sizes (`records`, MB of the source, the cache and the ledger, peak memory)."""
    from emr_fl_deploy.cli import run as emr_fl
    from emr_fl_shared.config import load_settings
    from emr_fl_shared.memory import peak_rss_mb

    data = folder / "data"
    options = ["--sites", "2", "--records", str(3 * records), "--seed", str(seed)]
    if emr_fl(["data", "synth", "--out", str(data), *options]):
        sys.exit(1)
    site = load_settings(data / "federation.toml").with_paths_from(data).sites["hospital-a"]
    source = _first(Path(site.source), folder / "records.csv", records)
    clock = Clock()
    for turn in range(repeat):
        sizes = _turn(source, site.columns, folder / f"state-{turn}", clock)
    return clock, {
        **sizes,
        "source MB": source.stat().st_size / 2**20,
        "peak memory MB": peak_rss_mb(),
    }


def _turn(source: Path, columns: dict[str, str], state: Path, clock: Clock) -> dict[str, float]:
    from emr_fl_client.dataset.cache import PreparedCache
    from emr_fl_client.dataset.store import RecordStore
    from emr_fl_shared.labels import load_taxonomy
    from emr_fl_shared.sources import read_records

    key, taxonomy, told = b"k" * 32, load_taxonomy("outpatient-50"), []
    store = RecordStore(state, key, where="source", progress=lambda event: told.append(event["doing"]))

    def prepared() -> Any:
        return store.prepared(str(source), columns, taxonomy, key=key, settings={})

    def split(of: Any) -> Any:
        return store.split(of, kind="patient", validation_share=0.1, seed=0)

    first = clock.time("read, prepare, seal", prepared)
    sides = clock.time("split, ledger new", lambda: split(first))
    again = clock.time("read, from the cache", prepared)
    clock.time("split, ledger known", lambda: split(again))
    assert told == ["reading", "preparing", "splitting", "reading", "from-cache", "splitting"]
    assert again.texts == first.texts and (again.labels == first.labels).all()
    cache = PreparedCache(store.folder, key)
    rows, report = clock.time("of these: read", lambda: read_records(source, columns))
    name = clock.time("of these: digest", lambda: cache.name(rows, report.skipped, taxonomy, {}))
    assert clock.time("of these: unseal", lambda: cache.find(name)) is not None
    kept = {path.suffix: path.stat().st_size / 2**20 for path in store.folder.iterdir() if path.suffix}
    return {
        "records": float(len(first)),
        "validating": float(len(sides.validation)),
        "cache MB": kept[".sealed"],
        "ledger MB": kept[".ledger"],
    }


def table(clock: Clock, sizes: dict[str, float]) -> str:
    """Markdown: medians, the spread, and each step's processor time against that of reading and preparing."""
    whole = statistics.median(clock.cpu["read, prepare, seal"])
    lines = [", ".join(f"{name} {value:,.1f}".removesuffix(".0") for name, value in sizes.items()), ""]
    lines += [
        "| step | s, processor | min – max | s, wall | records/s, processor | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for step, values in clock.cpu.items():
        middle = statistics.median(values)
        lines.append(
            f"| {step} | {middle:.2f} | {min(values):.2f} – {max(values):.2f} "
            f"| {statistics.median(clock.wall[step]):.2f} | {sizes['records'] / middle:,.0f} | {middle / whole:.3f} |"
        )
    return "\n".join(lines)


def _first(path: Path, target: Path, records: int) -> Path:
    """The header and `records` rows of an export (the generator writes a record a line)."""
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) <= records:
        sys.exit(f"{path} has {len(lines) - 1} rows only")
    target.write_bytes(b"".join(lines[: records + 1]))
    return target


if __name__ == "__main__":
    main()
