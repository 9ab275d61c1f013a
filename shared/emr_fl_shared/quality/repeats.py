"""Records that are there twice: whole records, visits, record numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from emr_fl_shared.quality.finding import RECORDS, Finding, Wording, defect
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import TEXT_FIELDS, Record


def record_digest(record: Record) -> int:
    """64 bits of everything in a record but its own number, for comparing records of one process run; keyed, so that it says
    nothing outside it."""
    return hash(
        (
            record.patient_id,
            record.visit_date,
            record.department,
            record.sex,
            record.age,
            *(getattr(record, name) for name in TEXT_FIELDS),
            record.diagnosis_codes,
            record.diagnosis_text,
            record.labels,
            tuple(sorted(record.identifiers.items())),
        )
    )


@register
class Repeats:
    """Exact duplicates, several records of one visit, and one record number for several records."""

    name = "repeats"

    def __init__(self, export: Export) -> None:
        self.export = export
        self.seen: set[int] = set()
        self._visits: set[int] = set()
        self._numbers: set[int] = set()
        self._count: Counter[str] = Counter()
        source = export.source
        own = source.columns.get("record_id")
        # A medical record number that stands in for the record's own is the patient's: it comes back with every visit.
        self._numbered = own is not None and own != source.identifier_columns.get("record_number")

    def see(self, record: Record) -> None:
        digest = record_digest(record)
        if digest in self.seen:
            self._count["duplicates"] += 1
            return
        self.seen.add(digest)
        if record.patient_id and record.visit_date:
            self._note("visits", self._visits, (record.patient_id, record.visit_date, record.department))
        if self._numbered:
            self._note("numbers", self._numbers, record.record_id)

    def _note(self, kind: str, known: set[int], value: object) -> None:
        digest = hash(value)
        if digest in known:
            self._count[kind] += 1
        known.add(digest)

    def findings(self) -> Iterator[Finding]:
        total = self.export.records
        yield defect(
            "records.duplicates",
            Wording("records that are there twice", "完全重复的记录"),
            self._count["duplicates"],
            total,
            RECORDS,
            Wording(
                "the same in everything but their number: remove them from the export",
                "除编号外完全相同：请从导出中删除",
            ),
        )
        if self.export.has("patient_id", "visit_date"):
            yield self._visits_finding()
        if self._numbered:
            yield self._numbers_finding()

    def _visits_finding(self) -> Finding:
        return defect(
            "records.duplicate_visits",
            Wording("visits that are there twice", "重复的就诊"),
            self._count["visits"],
            self.export.records,
            RECORDS,
            Wording(
                "same patient, day and department, other content: join the rows of one visit",
                "同一患者、同日、同科室而内容不同：请合并同一次就诊的多行",
            ),
        )

    def _numbers_finding(self) -> Finding:
        return defect(
            "records.same_number",
            Wording("record numbers that are there twice", "重复的记录编号"),
            self._count["numbers"],
            self.export.records,
            RECORDS,
            Wording("is the column really the record's own number?", "请核对该列是否为记录自身的编号"),
        )


def repeats_across(files: Iterable[Repeats]) -> Finding:
    """Records that an earlier file holds already, in everything but their number."""
    earlier: set[int] = set()
    count = total = 0
    for file in files:
        count += len(file.seen & earlier)
        earlier |= file.seen
        total += file.export.records
    return defect(
        "across.duplicates",
        Wording("records that an earlier file holds already", "在前面文件中已有的记录"),
        count,
        total,
        RECORDS,
        Wording("remove them from one of the files", "请从其中一个文件中删除"),
    )
