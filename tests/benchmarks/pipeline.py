"""A hospital's whole export on its way to the model: read, check, de-identify, map, split, tokenise.

    python tests/benchmarks/pipeline.py [--records 85000] [--characters 200] [--repeat 1]

Two programs of their own, as in a hospital: `emr-fl data check`, and what `emr-fl client join` does before its first round
(read, de-identify, measure its own recall, map the codes, seal, split, tokenise). They run one after the other and then at the
same time; seconds are of the wall and of the processor, memory is the peak of each program (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LIMIT_SECONDS, LIMIT_MB = 90.0, 1536.0


@dataclass(frozen=True)
class Cost:
    """What a program took: `wall` and `cpu` in seconds, `peak` in MB."""

    wall: float
    cpu: float
    peak: float


def prepare(export: Path, state: Path) -> None:
    """What a site does with its records before it trains, and a line of what came out."""
    from emr_fl_client.dataset.store import RecordStore
    from emr_fl_shared.config.settings import SiteSettings
    from emr_fl_shared.deidentify.configured import site_deidentifier
    from emr_fl_shared.deidentify.gate import measure_site
    from emr_fl_shared.labels import OUTPATIENT, load_taxonomy
    from emr_fl_shared.model.encoder import encode
    from emr_fl_shared.text.tokeniser import tiny_tokenizer

    key = b"k" * 32
    cleaner = site_deidentifier(SiteSettings(source=str(export)), key=key)
    store = RecordStore(state, key, where="source", progress=lambda event: None)
    prepared = store.prepared(
        str(export), {}, load_taxonomy(OUTPATIENT), key=key, settings={}, deidentifier=cleaner
    )
    recall = measure_site(prepared.texts, cleaner)
    split = store.split(prepared, kind="patient", validation_share=0.1, seed=0)
    tokens = encode(tiny_tokenizer(128), prepared.texts, 128)
    print(
        f"{len(prepared)} records, {sum(map(len, prepared.texts)) / len(prepared):.0f} characters each, {sum(map(len, tokens))} tokens, "
        f"{len(split.train)} train, {len(split.validation)} validate; own recall {recall.total.removed}/{recall.total.planted}",
        flush=True,
    )


def start(*arguments: str) -> tuple[subprocess.Popen[bytes], float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen([sys.executable, "-P", *arguments], env=environment), time.perf_counter()


def end(running: tuple[subprocess.Popen[bytes], float]) -> Cost:
    """Wait for a program; raises `SystemExit` if it failed."""
    process, began = running
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: the check found something
        sys.exit(f"exit {process.returncode}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def checking(export: Path) -> tuple[subprocess.Popen[bytes], float]:
    quiet = "import sys, os; sys.stdout = open(os.devnull, 'w'); from emr_fl_deploy.cli import run; sys.exit(run(sys.argv[1:]))"
    return start("-c", quiet, "data", "check", str(export), "--json")


def preparing(export: Path, state: Path) -> tuple[subprocess.Popen[bytes], float]:
    return start(__file__, "--prepare", str(export), str(state))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=85_000)
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--prepare", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        prepare(*given.prepare)
        return
    from benchmarks.data_check import lengthened
    from emr_fl_deploy.corpus import synthesise

    rows: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="emr-fl-pipeline-") as name:
        folder = Path(name)
        synthesise(folder / "sample", sites=1, records=given.records, seed=7)
        export = folder / "export.csv"
        lengthened(folder / "sample/sites/hospital-a.csv", export, given.characters)
        for turn in range(given.repeat):
            check = end(checking(export))
            made = end(preparing(export, folder / f"state-{turn}"))
            rows.setdefault("data check", []).append(check)
            rows.setdefault("prepare, split, tokenise", []).append(made)
            after = Cost(check.wall + made.wall, check.cpu + made.cpu, max(check.peak, made.peak))
            rows.setdefault("one after the other", []).append(after)
            began = time.perf_counter()
            first, second = checking(export), preparing(export, folder / f"state-both-{turn}")
            costs = [end(second), end(first)]
            rows.setdefault("at the same time", []).append(
                Cost(
                    time.perf_counter() - began,
                    sum(cost.cpu for cost in costs),
                    sum(cost.peak for cost in costs),
                )
            )
    print(
        f"\n{given.records:,} records, {os.cpu_count()} cores, n = {given.repeat}; wanted: {LIMIT_SECONDS:.0f} s on two cores, {LIMIT_MB:.0f} MB\n"
    )
    print("| | s, wall | s, processor | peak MB |\n|---|---|---|---|")
    for name, costs in rows.items():
        wall, cpu, peak = (
            statistics.median(getattr(cost, what) for cost in costs) for what in ("wall", "cpu", "peak")
        )
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
