"""How many notes of 200 characters the input standardiser reads in a second of one core.

python tests/benchmarks/standardise.py                      20,000 notes of the sample federation; prints a table
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
LENGTH = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from emr_fl_shared.text.normalise import normalise
    from emr_fl_shared.text.standardise import standardise

    notes = long_notes(given.notes, given.seed)
    standardise(notes[0])  # word lists are read once a process
    rows = []
    for name, step in (("normalise", normalise), ("standardise", standardise)):
        began = time.process_time()
        changed = sum(step(note) != note for note in notes)
        seconds = time.process_time() - began
        rows.append(f"| {name} | {len(notes) / seconds:,.0f} | {changed / len(notes):.3f} |")
    print(f"{len(notes)} different notes of {LENGTH} characters, seconds of the processor")
    print("| step | notes a second | share of notes changed |\n|---|---|---|")
    print("\n".join(rows))


def long_notes(count: int, seed: int) -> list[str]:
    """Different notes of `LENGTH` characters: notes of a sample federation, normalised, one after another, cut."""
    from emr_fl_deploy.corpus import synthesise
    from emr_fl_shared.records import note_text
    from emr_fl_shared.sources import read_records
    from emr_fl_shared.text.normalise import normalise

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        synthesise(out, sites=1, records=max(200, 3 * count), seed=seed, identifiers=0.0)
        records, _ = read_records(out / "sites" / "hospital-a.csv", None)
    texts = [normalise(note_text(record)) for record in records]
    whole = "\n".join(text for text in dict.fromkeys(texts) if text)
    cuts = range(0, len(whole) + 1, LENGTH)
    return [whole[start:end] for start, end in pairwise(cuts)][:count]


if __name__ == "__main__":
    main()
