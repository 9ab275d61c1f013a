"""k-anonymity and l-diversity: by hand, against a slow oracle, and what coarsening promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from emr_fl_shared.deidentify.risk import (
    QUASI_IDENTIFIERS,
    Group,
    Risk,
    chapter_of,
    coarsened,
    group_of,
    in_group,
    risk_of,
)
from emr_fl_shared.labels import load_taxonomy
from emr_fl_shared.records import Record

GROUPS = [("a",), ("a",), ("a",), ("b",), ("b",), ("c",)]
CHAPTERS = ["I", "I", "X", "X", "X", "I"]


def measure_risk(groups: Sequence[Group], chapters: Sequence[str], *, limit: int) -> Risk:
    return risk_of(Counter(zip(groups, chapters, strict=True)), limit=limit)


def coarsen(records: Sequence[Record], *, limit: int) -> tuple[list[Record], Counter[str]]:
    groups, emptied = coarsened(Counter(map(group_of, records)), limit=limit)
    return [in_group(record, groups[group_of(record)]) for record in records], emptied


def test_by_hand() -> None:
    risk = measure_risk(GROUPS, CHAPTERS, limit=3)
    assert (risk.k, risk.l, risk.groups, risk.unique, risk.below) == (1, 1, 3, 1, 3)
    assert risk.unique_share == 1 / 6
    pair = measure_risk(GROUPS[:3], CHAPTERS[:3], limit=3)
    assert (pair.k, pair.l, pair.below) == (3, 2, 0)
    assert measure_risk([], [], limit=5).k == 0


RECORDS = st.lists(
    st.builds(
        Record,
        age=st.sampled_from(["0-14", "15-44"]),
        sex=st.sampled_from(["男", "女", ""]),
        department=st.sampled_from(["内科", "外科"]),
        visit_date=st.sampled_from(["2024-Q1", "2024-Q2", ""]),
        text=st.just("咳嗽"),
    ),
    max_size=40,
)


@given(RECORDS, st.integers(1, 6))
def test_against_a_slow_oracle(records: list[Record], limit: int) -> None:
    groups = [group_of(record) for record in records]
    chapters = [record.sex for record in records]
    risk = measure_risk(groups, chapters, limit=limit)
    sizes = [sum(other == group for other in groups) for group in groups]
    assert risk.k == min(sizes, default=0)
    assert risk.unique == sizes.count(1)
    assert risk.below == sum(size < limit for size in sizes)
    diverse = [
        len({chapter for other, chapter in zip(groups, chapters, strict=True) if other == group})
        for group in groups
    ]
    assert risk.l == min(diverse, default=0)


@given(RECORDS, st.integers(1, 6))
def test_coarsening(records: list[Record], limit: int) -> None:
    kept, emptied = coarsen(records, limit=limit)
    assert len(kept) == len(records)
    after = [group_of(record) for record in kept]
    for before, record, group in zip(records, kept, after, strict=True):
        assert record.text == before.text
        for name in QUASI_IDENTIFIERS:
            assert getattr(record, name) in (getattr(before, name), "")
        large = after.count(group) >= limit
        assert large or not any(group), "only records with nothing left may be too few"
    changed = sum(
        getattr(one, name) != getattr(other, name)
        for one, other in zip(records, kept, strict=True)
        for name in QUASI_IDENTIFIERS
    )
    assert sum(emptied.values()) == changed
    if limit == 1:
        assert kept == records


def test_chapters() -> None:
    taxonomy = load_taxonomy("outpatient-50")
    assert chapter_of(Record(diagnosis_codes=("不明", "J20.900", "I10")), taxonomy) == "X"
    assert chapter_of(Record(), taxonomy) == ""
    label = taxonomy.labels[0]
    assert chapter_of(Record(labels=(label.name,)), taxonomy) == label.chapter
