"""How easily a person could be told from others by what is left: k-anonymity, l-diversity, unique records, and their repair.

Quasi-identifiers (GB/T 37964-2019, 3.8): age, sex, department, date of the visit. Records that agree in all of them form a group.

- k (Sweeney 2002): the size of the smallest group. A person in it hides among k − 1 others.
- distinct l (Machanavajjhala et al. 2007): the fewest different diagnosis chapters in a group. With l = 1 whoever knows the group
  knows the chapter. A record with several diagnoses counts with the chapter of its first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.records import Record

QUASI_IDENTIFIERS = ("age", "sex", "department", "visit_date")
COARSENING = ("visit_date", "department", "age", "sex")
"""The order in which fields are emptied in records of too small groups."""

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Risk:
    """Of `records`: groups, the smallest (`k`), fewest chapters in a group (`l`), records alone in theirs, and in groups under `limit`."""

    records: int
    groups: int
    k: int
    l: int  # noqa: E741 (its name in the literature)
    unique: int
    below: int
    limit: int

    @property
    def unique_share(self) -> float:
        """The share of records that nobody shares all quasi-identifiers with."""
        return self.unique / max(1, self.records)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for reports."""
        return {
            "records": self.records,
            "groups": self.groups,
            "k": self.k,
            "l": self.l,
            "unique": self.unique,
            "unique_share": round(self.unique_share, 4),
            "below": self.below,
            "limit": self.limit,
        }


def group_of(record: Record) -> Group:
    """The quasi-identifiers of a record as they stand."""
    return tuple(str(getattr(record, name)).strip() for name in QUASI_IDENTIFIERS)


def risk_of(counts: Mapping[tuple[Group, str], int], *, limit: int) -> Risk:
    """`counts`: how many records have these quasi-identifiers and this diagnosis chapter (empty if unknown).

    k and l are 0 without records.
    """
    sizes: Counter[Group] = Counter()
    diverse: defaultdict[Group, set[str]] = defaultdict(set)
    for (group, chapter), count in counts.items():
        sizes[group] += count
        diverse[group].add(chapter)
    return Risk(
        records=sizes.total(),
        groups=len(sizes),
        k=min(sizes.values(), default=0),
        l=min((len(found) for found in diverse.values()), default=0),
        unique=sum(size == 1 for size in sizes.values()),
        below=sum(size for size in sizes.values() if size < limit),
        limit=limit,
    )


def coarsened(sizes: Mapping[Group, int], *, limit: int) -> tuple[dict[Group, Group], Counter[str]]:
    """Groups smaller than `limit` lose the date, then the department, the age and the sex, until they are large enough.

    `sizes`: records of each group. Returns what becomes of each group, and how many values of each field are emptied. Emptying a
    field moves records into another group, so a group that was large enough never shrinks below `limit`. What is left may still
    be one small group of records with nothing in them.
    """
    becomes = {group: group for group in sizes}
    emptied: Counter[str] = Counter()
    for name in COARSENING:
        at = QUASI_IDENTIFIERS.index(name)
        now: Counter[Group] = Counter()
        for group, size in sizes.items():
            now[becomes[group]] += size
        for group, current in becomes.items():
            if now[current] < limit and current[at]:
                becomes[group] = (*current[:at], "", *current[at + 1 :])
                emptied[name] += sizes[group]
    return becomes, emptied


def in_group(record: Record, group: Group) -> Record:
    """The record with the quasi-identifiers of `group`."""
    values: dict[str, Any] = dict(zip(QUASI_IDENTIFIERS, group, strict=True))
    return replace(record, **values)


def chapter_of(record: Record, taxonomy: Taxonomy) -> str:
    """The ICD-10 chapter (Roman numeral) of the record's first diagnosis that the taxonomy knows; empty if it knows none."""
    for code in record.diagnosis_codes:
        index = taxonomy.of_code(code).index
        if index is not None:
            return taxonomy.labels[index].chapter
    for name in (*record.labels, record.diagnosis_text):
        index = taxonomy.index(name)
        if index is not None:
            return taxonomy.labels[index].chapter
    return ""
