"""What was removed: counts by kind and by field, never a value."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr


@dataclass(slots=True)
class AuditReport:
    """`records` cleaned, `changed` of them with at least one removal, `removed[field][kind]` removals."""

    records: int = 0
    changed: int = 0
    removed: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Count one record: `counts[field][kind]`."""
        self.records += 1
        self.changed += any(number for kinds in counts.values() for number in kinds.values())
        for name, kinds in counts.items():
            if kinds:
                self.removed.setdefault(name, Counter()).update(kinds)

    def merge(self, other: AuditReport) -> AuditReport:
        """The report of both; neither is changed."""
        removed = {name: Counter(kinds) for name, kinds in self.removed.items()}
        for name, kinds in other.removed.items():
            removed.setdefault(name, Counter()).update(kinds)
        return AuditReport(self.records + other.records, self.changed + other.changed, removed)

    @property
    def by_kind(self) -> Counter[str]:
        """Removals by kind over all fields."""
        total: Counter[str] = Counter()
        for kinds in self.removed.values():
            total.update(kinds)
        return total

    def to_json(self) -> str:
        """The report as canonical JSON."""
        value = {
            "schema": 1,
            "records": self.records,
            "changed": self.changed,
            "by_kind": dict(sorted(self.by_kind.items())),
            "by_field": {name: dict(sorted(kinds.items())) for name, kinds in sorted(self.removed.items())},
        }
        return json.dumps(value, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> AuditReport:
        """Inverse of `to_json`. Raises `DataError` if it is not such a report."""
        try:
            value = json.loads(text) if isinstance(text, str) else text
            removed = {
                str(name): Counter({str(kind): int(number) for kind, number in kinds.items()})
                for name, kinds in value["by_field"].items()
            }
            return cls(int(value["records"]), int(value["changed"]), removed)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(tr("this is not an audit report", "不是审计报告")) from None
