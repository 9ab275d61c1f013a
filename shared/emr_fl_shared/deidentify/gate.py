"""The gate: a site plants identifiers into its own texts, measures what its own de-identification removes, and stops below its policy.

All in memory. The result holds counts by kind and nothing of a text. What is measured is the site's whole cleaner (rules, roster, own
model) on text alone; the row's own identifier columns, which find more, are left out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from emr_fl_shared.config.settings import Policy
from emr_fl_shared.deidentify.deidentifier import Deidentifier
from emr_fl_shared.deidentify.measurement import KindRecall, Planted, removed_and_right, wilson
from emr_fl_shared.deidentify.planting import NAME_KINDS, plant
from emr_fl_shared.deidentify.roster import Roster
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import tr

PLANTED = 450
"""Fifteen of each kind, 135 names."""
SECONDS = 3.0
SEED = 2026
KIND_SHARE = 0.85
"""A kind has fifteen planted only, so it stops a site where its whole 95 % interval is below this share of the policy."""
_BATCH = 30  # one round of all kinds


@dataclass(frozen=True, slots=True)
class SiteRecall:
    """Recall by kind, and findings beside what was planted over the characters that were free of it."""

    kinds: tuple[KindRecall, ...]
    false_alarms: int
    characters: int

    @property
    def total(self) -> KindRecall:
        """All kinds together."""
        return self._sum("all", [row.kind for row in self.kinds])

    @property
    def names(self) -> KindRecall:
        """Patients, relatives and staff together."""
        return self._sum("names", NAME_KINDS)

    @property
    def false_alarms_per_1000(self) -> float:
        """Per 1,000 characters."""
        return 1000 * self.false_alarms / max(1, self.characters)

    def _sum(self, name: str, kinds: Sequence[str]) -> KindRecall:
        rows = [row for row in self.kinds if row.kind in kinds]
        return KindRecall(
            name,
            sum(row.planted for row in rows),
            sum(row.removed for row in rows),
            sum(row.right for row in rows),
        )

    def problems(self, policy: Policy) -> list[str]:
        """What is below the policy: all together, names, or a kind that is mostly missed. Empty if it passes or is off."""
        found = []
        wanted, names = policy.deidentification_recall, policy.deidentification_names
        for row, least, label in (
            (self.total, wanted, tr("all kinds", "全部类别")),
            (self.names, names, tr("names", "姓名")),
        ):
            if row.planted and row.recall < least:
                found.append(f"{label} {row.recall:.3f} < {least:g}")
        for row in self.kinds:
            least = KIND_SHARE * (names if row.kind in NAME_KINDS else wanted)
            if wilson(row.removed, row.planted)[1] < least:
                found.append(f"{row.kind} {row.removed}/{row.planted} < {least:.2f}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values, for reports."""
        return {
            "planted": self.total.planted,
            "all": _row(self.total),
            "names": _row(self.names),
            "by_kind": {row.kind: _row(row) for row in self.kinds},
            "false_alarms": self.false_alarms,
            "characters": self.characters,
            "false_alarms_per_1000": round(self.false_alarms_per_1000, 4),
        }


def _row(row: KindRecall) -> dict[str, Any]:
    return {
        "planted": row.planted,
        "removed": row.removed,
        "recall": round(row.recall, 4),
        "interval": [round(bound, 4) for bound in wilson(row.removed, row.planted)],
    }


def is_off(policy: Policy) -> bool:
    """Whether the policy asks for nothing."""
    return policy.deidentification_recall == 0 and policy.deidentification_names == 0


def measure_site(
    texts: Sequence[str],
    cleaner: Deidentifier,
    *,
    number: int = PLANTED,
    seed: int = SEED,
    seconds: float = SECONDS,
) -> SiteRecall:
    """Plant into `texts`, which must be cleaned already, and measure.

    A slow cleaner (a token classifier on a CPU) is stopped after `seconds`, but not before every kind was planted once. Only
    texts that take part are read, spread over all of them. The audit of `cleaner` is not touched.
    """
    step = max(1, len(texts) // number)
    sample = list(texts[::step][:number])
    staff = [name for part in cleaner.recognisers if isinstance(part, Roster) for name in part.names]
    notes = plant(sample, number, seed=seed, staff=staff)
    planted: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    right: Counter[str] = Counter()
    alarms = characters = 0
    begun = time.monotonic()
    while batch := list(islice(notes, _BATCH)):
        cleaner.warm([note.text for note in batch])
        for note in batch:
            _, spans = cleaner.text(note.text)
            for kind, gone, same in removed_and_right(note, spans):
                planted[kind] += 1
                removed[kind] += gone
                right[kind] += same
            alarms += sum(not _touches(note, span.start, span.end) for span in spans)
            characters += len(note.text) - sum(end - start for start, end, _ in note.truth)
        if time.monotonic() - begun > seconds:
            break
    kinds = tuple(KindRecall(kind, planted[kind], removed[kind], right[kind]) for kind in sorted(planted))
    return SiteRecall(kinds, alarms, characters)


def refuse_below(recall: SiteRecall, policy: Policy, *, where: str) -> None:
    """Raises `PolicyError` if the recall is below the policy."""
    problems = recall.problems(policy)
    if problems:
        raise PolicyError(
            tr(
                "de-identification finds too few of the identifiers planted into this site's texts",
                "去标识化识别率不足：植入本机构文本的标识符未被充分识别",
            ),
            where=where,
            got="; ".join(problems),
            expected=f"deidentification_recall = {policy.deidentification_recall:g}, "
            f"deidentification_names = {policy.deidentification_names:g}",
            do=tr(
                "give a staff roster or the site's own NER model, or have the data-protection officer change [policy]",
                "请提供职工名单或本机构 NER 模型，或由数据保护负责人调整 [policy]",
            ),
        )


def _touches(note: Planted, start: int, end: int) -> bool:
    return any(start < last and first < end for first, last, _ in note.truth)
