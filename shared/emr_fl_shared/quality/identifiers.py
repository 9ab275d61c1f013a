"""Identifiers in the text, by type and column: counts of what de-identification removes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.quality.finding import NOTHING, Finding, Wording
from emr_fl_shared.quality.registry import Export, register
from emr_fl_shared.records import TEXT_FIELDS, Record

SAMPLE = 10_000
"""Records that are searched; in larger exports every n-th, because the search takes most of the time."""
_SEARCHED = (*TEXT_FIELDS, "diagnosis_text", "department")


@register
class Identifiers:
    """Searches as training does, with the row's own identifier columns known."""

    name = "identifiers"

    def __init__(self, export: Export) -> None:
        self._step = -(-export.records // SAMPLE) or 1
        self._position = self._searched = 0
        self._deidentifier = Deidentifier()
        self._kinds: Counter[str] = Counter()
        self._columns: Counter[str] = Counter()
        self._header = export.header

    def see(self, record: Record) -> None:
        self._position += 1
        if (self._position - 1) % self._step:
            return
        self._searched += 1
        known = dict(record.identifiers)
        known.setdefault("patient_id", record.patient_id)
        known.setdefault("record_id", record.record_id)
        for name in _SEARCHED:
            value = getattr(record, name)
            if value:
                kinds = [span.kind for span in self._deidentifier.text(value, known)[1]]
                self._kinds.update(kinds)
                self._columns[name] += len(kinds)

    def findings(self) -> Iterator[Finding]:
        by_kind = self._kinds.most_common()
        by_column = +self._columns
        inside = Wording(f"in {self._searched:,} records: ", f"{self._searched:,} 条记录中：")
        yield Finding(
            "identifiers.types",
            Wording("identifiers in the text, by type", "正文中的标识符（按类型）"),
            "ok",
            self._kinds.total(),
            inside + _listed(by_kind),
            of=self._searched,
            details=dict(by_kind),
        )
        columns = ", ".join(f"{self._header(name)} {count:,}" for name, count in by_column.most_common())
        yield Finding(
            "identifiers.columns",
            Wording("identifiers in the text, by column", "正文中的标识符（按列）"),
            "ok",
            by_column.total(),
            inside + (Wording(columns, columns) or NOTHING),
            of=self._searched,
            details=dict(by_column.most_common()),
        )


def _listed(kinds: list[tuple[str, int]]) -> Wording:
    if not kinds:
        return NOTHING
    text = ", ".join(f"{kind} {count:,}" for kind, count in kinds)
    return Wording(text, text)
