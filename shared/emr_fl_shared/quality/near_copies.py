"""Records whose text is nearly that of an earlier one: copied forward within a patient, or copied between patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from emr_fl_shared.quality.finding import NOTHING, RECORDS, Finding, Wording, counted, defect
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.quality.repeats import record_digest
from emr_fl_shared.quality.sketches import Sketches, comparable, similar_groups, sketch
from emr_fl_shared.records import Record, note_text

_BATCH = 2048


@register
class NearCopies:
    """Sketches of all texts that are long enough; exact duplicates of an earlier record are not counted again."""

    name = "near_copies"

    def __init__(self, export: Export) -> None:
        self.export = export
        self._digests: set[int] = set()
        self._waiting: list[str] = []
        self._sketches: list[Sketches] = []
        self.patients: list[int] = []
        """For each sketch the patient, as a number of this process; a record without one is a patient of its own."""

    def see(self, record: Record) -> None:
        digest = record_digest(record)
        if digest in self._digests:
            return
        self._digests.add(digest)
        text = comparable(note_text(record))
        if not text:
            return
        self._waiting.append(text)
        self.patients.append(hash(record.patient_id) if record.patient_id else -len(self.patients) - 2)
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._sketches.append(sketch(self._waiting))
        self._waiting = []

    @property
    def sketches(self) -> Sketches:
        """uint32 [n, 60] of the texts seen so far."""
        if self._waiting:
            self._flush()
        return np.concatenate(self._sketches) if self._sketches else sketch([])

    def findings(self) -> Iterator[Finding]:
        within, across = self._count()
        total = self.export.records
        if self.export.has("patient_id"):
            yield self._within(within)
        yield defect(
            "records.near_copies_across",
            Wording("near-copies across patients", "不同患者间的近似文本"),
            across,
            total,
            RECORDS,
            Wording(
                "they inflate scores when they fall into training and validation alike: templates, or one patient under two numbers?",
                "同时落入训练集与验证集会抬高得分：是否为模板，或同一患者有两个编号？",
            ),
        )

    def _within(self, count: int) -> Finding:
        """No defect: a patient's records stay together when they are split."""
        total = self.export.records
        return Finding(
            "records.near_copies_within",
            Wording("near-copies within a patient", "同一患者内的近似文本"),
            "ok",
            count,
            counted(count, total, RECORDS) if count else NOTHING,
            of=total,
        )

    def _count(self) -> tuple[int, int]:
        """Records that nearly repeat an earlier one of the same patient, and of other patients only."""
        groups = similar_groups(self.sketches).tolist()
        sizes = Counter(groups)
        known: set[int] = set()
        patients: set[tuple[int, int]] = set()
        within = across = 0
        for group, patient in zip(groups, self.patients, strict=True):
            if sizes[group] == 1:
                continue
            if (group, patient) in patients:
                within += 1
            elif group in known:
                across += 1
            known.add(group)
            patients.add((group, patient))
        return within, across


def near_copies_across(files: Sequence[NearCopies]) -> Finding:
    """Records whose text is nearly that of a record of an earlier file; exact duplicates count, too."""
    groups = similar_groups(np.concatenate([file.sketches for file in files])).tolist()
    earlier: set[int] = set()
    count = start = 0
    for file in files:
        own = groups[start : start + len(file.patients)]
        count += sum(group in earlier for group in own)
        earlier.update(own)
        start += len(own)
    return defect(
        "across.near_copies",
        Wording("texts that an earlier file nearly holds already", "与前面文件近似的文本"),
        count,
        sum(file.export.records for file in files),
        RECORDS,
        Wording(
            "if one file trains and the other scores, the scores are too good: keep each patient in one file",
            "若一个文件用于训练、另一个用于评估，得分会偏高：请让每名患者只出现在一个文件中",
        ),
    )
