"""Recall by kind and false alarms of the real cleaner on the generated set of `tests/recall`.

python tests/benchmarks/deidentification_recall.py                      both halves, text only and with row and roster, seeds 1-4
python tests/benchmarks/deidentification_recall.py --half sealed --json figures.json
python tests/benchmarks/deidentification_recall.py --half second            the set of `tests/recall_second`, sums only
python tests/benchmarks/deidentification_recall.py --half third --seeds 1   the set of `tests/recall_third`, sums only
python tests/benchmarks/deidentification_recall.py --half development --misses ID_CARD     what was missed; never of the sealed half
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from emr_fl_shared.deidentify import KINDS, Deidentifier, KindRecall
from emr_fl_shared.deidentify.measurement import wilson
from recall.halves import Half
from recall.measure import Measured, false_alarms, measure, protected_hits
from recall.notes import notes
from recall_second.measure import measure_second
from recall_third.measure import false_alarms_third, measure_third

_CLEAN_TEXTS = 1500
_CLEAN_TEXTS_THIRD = 400


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--half", choices=("development", "sealed", "both", "second", "third"), default="both"
    )
    parser.add_argument("--notes", type=int, default=600, help="for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument(
        "--measured",
        type=Path,
        help="write the sealed half's counts there, as resources/deidentify/measured.tsv has them",
    )
    parser.add_argument("--misses", metavar="KIND", help="show what was missed (development half only)")
    given = parser.parse_args()
    if given.half == "second":
        alone, helped = (measure_second(2, given.seeds, known=known) for known in (False, True))
        print(f"\nsecond set, {alone.notes} notes, seeds {' '.join(map(str, given.seeds))}\n")
        print(table(alone, helped))
        return
    if given.half == "third":
        alone, helped = (measure_third(given.notes, given.seeds, known=known) for known in (False, True))
        print(f"\nthird set, {alone.notes} notes, seeds {' '.join(map(str, given.seeds))}\n")
        print(table(alone, helped))
        alarms, length = false_alarms_third(_CLEAN_TEXTS_THIRD, given.seeds[0])
        print(f"\nfalse alarms: {alarms} in {length} characters of clean text")
        return
    halves: tuple[Half, ...] = ("development", "sealed") if given.half == "both" else (given.half,)
    if given.misses:
        if given.half != "development":
            parser.error("--misses needs --half development: the sealed half is only counted")
        show_misses(given.notes, given.seeds, given.misses)
        return
    figures: dict[str, Any] = {"seeds": given.seeds, "notes_for_each_seed": given.notes}
    for half in halves:
        alone = measure(half, given.notes, given.seeds, known=False)
        helped = measure(half, given.notes, given.seeds, known=True)
        found, characters, what = false_alarms(half, _CLEAN_TEXTS, given.seeds[0])
        figures[half] = {
            "notes": alone.notes,
            "text_only": _rows(alone),
            "row_and_roster": _rows(helped),
            "false_alarms": {
                "found": found,
                "characters": characters,
                "per_1000": 1000 * found / characters,
            },
        }
        if half == "sealed" and given.measured:
            write_measured(given.measured, alone, helped)
        print(f"\n{half} half, {alone.notes} notes, seeds {' '.join(map(str, given.seeds))}\n")
        print(table(alone, helped))
        print(f"\nfalse alarms: {found} in {characters} characters of clean text")
        if half == "development" and what:
            print(sorted(set(what)))
    sentences, hits = protected_hits()
    figures["protected"] = {"sentences": sentences, "hits": len(hits)}
    print(f"protected lexicon: {len(hits)} of {sentences} sentences changed")
    if hits:
        print(hits)
    figures["notes_of_200_characters_per_second"] = speed()
    print(f"{figures['notes_of_200_characters_per_second']:.0f} notes of 200 characters for a CPU second")
    if given.json:
        given.json.write_text(json.dumps(figures, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def table(alone: Measured, helped: Measured) -> str:
    """Both measurements as one Markdown table."""
    lines = [
        "| kind | n | found, text only | recall (95 %) | found, row and roster | recall (95 %) |",
        "|---|---|---|---|---|---|",
    ]
    for row in alone.rows:
        with_row = helped.row(row.kind)
        lines.append(
            f"| {row.kind} | {row.planted} | {row.removed} | {_interval(row)} | {with_row.removed} | {_interval(with_row)} |"
        )
    return "\n".join(lines)


def write_measured(path: Path, alone: Measured, helped: Measured) -> None:
    """Counts by the cleaner's kinds, for `registry.card`."""
    counts: dict[str, list[int]] = {}
    for row in alone.rows:
        kind = {"MOBILE": "PHONE", "LANDLINE": "PHONE"}.get(row.kind, row.kind)
        if kind in KINDS:
            found = counts.setdefault(kind, [0, 0, 0])
            for place, value in enumerate((row.planted, row.removed, helped.row(row.kind).removed)):
                found[place] += value
    lines = ["\t".join((kind, *map(str, found))) for kind, found in sorted(counts.items())]
    head = "# What the whole cleaner removes of the sealed half of the generated set; written by tests/benchmarks/deidentification_recall.py.\n"
    path.write_text(
        head + "kind\tplanted\ttext_only\trow_and_roster\n" + "\n".join(lines) + "\n", encoding="utf-8"
    )


def speed() -> float:
    """Notes of 200 characters that one CPU second cleans: the development half's notes, cut or joined to that length."""
    written, _ = notes("development", 400, 1)
    whole = "\n".join(note.text for note in written)
    texts = [whole[at : at + 200] for at in range(0, len(whole) - 200, 200)]
    cleaner = Deidentifier(key=bytes(32))
    for text in texts:
        cleaner.text(text)
    taken = []
    for _ in range(3):
        started = time.process_time()
        for text in texts:
            cleaner.text(text)
        taken.append(time.process_time() - started)
    return len(texts) / min(taken)


def show_misses(count: int, seeds: list[int], kind: str) -> None:
    """Misses of a kind on the development half, with their surroundings; everything shown is invented."""
    for miss in measure("development", count, seeds, known=False).misses:
        if miss.kind == kind or kind == "all":
            before = miss.note[max(0, miss.start - 12) : miss.start]
            after = miss.note[miss.end : miss.end + 8]
            print(f"{miss.kind}\t{before}⟦{miss.note[miss.start : miss.end]}⟧{after}".replace("\n", "↵"))


def _interval(row: KindRecall) -> str:
    low, high = wilson(row.removed, row.planted)
    return f"{row.recall:.4f} ({low:.3f}–{high:.3f})"


def _rows(measured: Measured) -> dict[str, dict[str, float]]:
    return {
        row.kind: {"n": row.planted, "found": row.removed, "recall": row.recall}
        | dict(zip(("low", "high"), wilson(row.removed, row.planted), strict=True))
        for row in measured.rows
    }


if __name__ == "__main__":
    main()
