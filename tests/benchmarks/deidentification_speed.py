"""How fast the cleaner is: notes of 200 characters for a CPU second, and the share of each recogniser.

    python tests/benchmarks/deidentification_speed.py [--notes 1000] [--repeat 3]

Three kinds of text: records of the sample federation, lengthened to 200 characters, cleaned whole with their identifier columns;
texts of `tests/recall` in which every fifteenth character or so belongs to an identifier (development half); and its clean texts. Process seconds,
the best of the repetitions. The shares are of another run, in which each recogniser's own time is taken; *other*: folding, settling, replacing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data_check import lengthened
from emr_fl_deploy.corpus import synthesise
from emr_fl_shared.deidentify import Deidentifier, Recogniser, Span, recognisers
from emr_fl_shared.records import Record
from emr_fl_shared.sources import read_records
from recall.notes import clean_notes, notes

_CHARACTERS = 200
Cleaning = Callable[[Deidentifier], object]


class Timed:
    """A recogniser, and the process seconds that its `find` took."""

    def __init__(self, recogniser: Recogniser, seconds: Counter[str]) -> None:
        self.name, self.kinds = recogniser.name, recogniser.kinds
        self._find, self._seconds = recogniser.find, seconds

    def find(self, text: str, known: Mapping[str, str]) -> list[Span]:
        began = time.process_time()
        found = list(self._find(text, known))
        self._seconds[self.name] += time.process_time() - began
        return found


def sample_records(count: int) -> list[Record]:
    """Records of a sample site with notes of 200 characters."""
    with tempfile.TemporaryDirectory() as folder:
        synthesise(Path(folder) / "sample", sites=1, records=count, seed=7)
        path = Path(folder) / "export.csv"
        lengthened(Path(folder) / "sample/sites/hospital-a.csv", path, _CHARACTERS)
        return list(read_records(path)[0])


def cut(texts: Sequence[str], count: int) -> list[str]:
    """The texts joined, and cut to pieces of 200 characters."""
    whole = "\n".join(texts)
    pieces = [whole[at : at + _CHARACTERS] for at in range(0, len(whole) - _CHARACTERS, _CHARACTERS)]
    return pieces[:count]


def seconds(cleaning: Sequence[Cleaning], cleaner: Deidentifier) -> float:
    began = time.process_time()
    for clean in cleaning:
        clean(cleaner)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    dense = cut([note.text for note in notes("development", given.notes * 2, 1)[0]], given.notes)
    clean = cut(clean_notes("development", given.notes * 2, 1), given.notes)
    kinds: dict[str, list[Cleaning]] = {
        "sample federation": [
            lambda cleaner, record=record: cleaner.clean(record)  # type: ignore[misc]
            for record in sample_records(given.notes)
        ],
        "dense": [lambda cleaner, text=text: cleaner.text(text) for text in dense],  # type: ignore[misc]
        "clean": [lambda cleaner, text=text: cleaner.text(text) for text in clean],  # type: ignore[misc]
    }
    speeds: dict[str, float] = {}
    shares: dict[str, Counter[str]] = {}
    for kind, cleaning in kinds.items():
        cleaner = Deidentifier(key=bytes(32))
        best = min(seconds(cleaning, cleaner) for _ in range(given.repeat))
        speeds[kind] = len(cleaning) / best
        taken: Counter[str] = Counter()
        timed = Deidentifier([Timed(recogniser, taken) for recogniser in recognisers()], key=bytes(32))
        whole = seconds(cleaning, timed)
        shares[kind] = Counter({name: spent / whole for name, spent in taken.items()})
        shares[kind]["other"] = 1 - sum(taken.values()) / whole
    print(f"| n = {', '.join(str(len(cleaning)) for cleaning in kinds.values())} | {' | '.join(kinds)} |")
    print("|---" * (1 + len(kinds)) + "|")
    print("| notes a second and core | " + " | ".join(f"{speeds[kind]:,.0f}" for kind in kinds) + " |")
    for name, _ in sum(shares.values(), Counter[str]()).most_common():
        print(f"| {name} | " + " | ".join(f"{shares[kind][name]:.0%}" for kind in kinds) + " |")


if __name__ == "__main__":
    main()
