"""The chapters of ICD-10: `resources/labels/chapters.csv`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from emr_fl_shared.labels.icd10 import parse_range


@dataclass(frozen=True, slots=True)
class Chapter:
    """`numeral` such as `IX`; `first` and `last` category index."""

    numeral: str
    zh: str
    en: str
    first: int
    last: int


@cache
def chapters() -> tuple[Chapter, ...]:
    """All chapters, in the order of the book."""
    text = (files("emr_fl_shared") / "resources" / "labels" / "chapters.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Chapter(row["chapter"], row["zh"], row["en"], *parse_range(row["icd10_ranges"])) for row in rows
    )


def chapters_reached(ranges: Sequence[str]) -> dict[str, int]:
    """Numeral -> how many categories of the ranges lie in that chapter, for those that hold any."""
    sizes: dict[str, int] = {}
    for text in ranges:
        first, last = parse_range(text)
        for chapter in chapters():
            overlap = min(last, chapter.last) - max(first, chapter.first) + 1
            if overlap > 0:
                sizes[chapter.numeral] = sizes.get(chapter.numeral, 0) + overlap
    return sizes


def main_chapter(ranges: Sequence[str]) -> str:
    """The chapter that holds most categories of the ranges; of equals that of the earlier range; empty without ranges."""
    sizes = chapters_reached(ranges)
    return max(sizes, key=lambda numeral: sizes[numeral], default="")
