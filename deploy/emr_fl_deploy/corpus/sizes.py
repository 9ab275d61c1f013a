"""How many records each file of the sample federation holds."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr

LARGEST_FEDERATION = 26
SMALLEST_TRAINING = 200
SMALLEST_SET = 20
LARGEST_RECORDS = 5_000_000
_PAPER_HELD_OUT = 10_000 / 85_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Records of each training site, by name and in order, and of the server's sets (0: the set is left out)."""

    sites: Mapping[str, int]
    standard: int
    validation: int
    cross_site: int

    @property
    def training(self) -> int:
        return sum(self.sites.values())


def plan_sizes(
    sites: int = 4,
    records: int = 6000,
    standard: int | None = None,
    validation: int | None = None,
    cross_site: int | None = None,
) -> Sizes:
    """Sizes of all files; `records` counts the training records over all sites.

    Sites are unequal: the largest has four times the records of the smallest (4 sites: .4, .3, .2, .1). Sets that
    are not given follow the paper (85,000 / 10,000 / 10,000), but a small federation keeps a standard set that is
    large enough to score rare labels. Raises `UsageError`.
    """
    _within("--sites", sites, 1, LARGEST_FEDERATION)
    _within("--records", records, SMALLEST_TRAINING, LARGEST_RECORDS)
    paper = records * _PAPER_HELD_OUT
    if standard is None:
        standard = _rounded(max(paper, min(records / 5, 1200)))
    if validation is None:
        validation = _rounded(paper)
    if cross_site is None:
        cross_site = _rounded(min(records / 10, 2000))
    _within("--standard", standard, SMALLEST_SET, LARGEST_RECORDS)
    for option, value in (("--validation", validation), ("--cross-site", cross_site)):
        if value != 0:
            _within(option, value, SMALLEST_SET, LARGEST_RECORDS)
    weights = [1.0 - 0.75 * place / max(1, sites - 1) for place in range(sites)]
    exact = [records * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    for place in sorted(range(sites), key=lambda i: (counts[i] - exact[i], i))[: records - sum(counts)]:
        counts[place] += 1
    names = [f"hospital-{letter}" for letter in string.ascii_lowercase[:sites]]
    return Sizes(dict(zip(names, counts, strict=True)), standard, validation, cross_site)


def _rounded(value: float) -> int:
    step = 100 if value >= 500 else 10
    return max(SMALLEST_SET, round(value / step) * step)


def _within(option: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(
            tr("a number out of range", "数值超出范围"),
            where=option,
            got=str(value),
            expected=f"{low} … {high}",
            do=tr("choose a number within the range", "请选择范围内的数值"),
        )
