"""Peak memory and time of `data check` and `data deidentify`, each in a program of its own.

python tests/benchmarks/command_memory.py [--rows 20000 200000] [--kind csv]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from source_memory import KINDS, write


def work(command: str, path: str) -> None:
    """Run the command once and print its exit code, seconds and MB at the peak."""
    from emr_fl_deploy.cli import run

    began = time.monotonic()
    more = ["--out", f"{path}.copy.csv"] if command == "deidentify" else []
    code = run(["data", command, path, *more])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"code": code, "s": time.monotonic() - began, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--kind", choices=[kind for kind in KINDS if kind != "sqlite"], default="csv")
    parser.add_argument("--work", nargs=2)
    parser.add_argument("--write")
    given = parser.parse_args()
    if given.work:
        work(*given.work)
        return
    if given.write:
        write(given.kind, Path(given.write), given.rows[0])
        return
    me = [sys.executable, __file__]
    print("| command | records | seconds | records/s | MB at peak |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in given.rows:
            path = Path(folder) / f"visits.{given.kind}"
            subprocess.run(
                [*me, "--kind", given.kind, "--rows", str(count), "--write", str(path)], check=True
            )
            for command in ("check", "deidentify"):
                done = subprocess.run(
                    [*me, "--work", command, str(path)], check=True, capture_output=True, text=True
                )
                found = json.loads(done.stdout.splitlines()[-1])
                assert found["code"] == 0, done.stdout
                print(
                    f"| data {command} | {count} | {found['s']:.1f} | {count / found['s']:,.0f} | {found['peak']:.0f} |",
                    flush=True,
                )
            Path(f"{path}.copy.csv").unlink()


if __name__ == "__main__":
    main()
