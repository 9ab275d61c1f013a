"""The checks by name. A site may add its own.

@register
class Weekends:
    name = "weekends"

    def __init__(self, export): ...
    def see(self, record): ...
    def findings(self): ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol, TypeVar

from emr_fl_shared.errors import UsageError
from emr_fl_shared.labels import LocalLabels, Taxonomy
from emr_fl_shared.messages import tr
from emr_fl_shared.quality.finding import Finding
from emr_fl_shared.records import Record
from emr_fl_shared.sources import SourceReport


@dataclass(frozen=True)
class Export:
    """What a check knows before it sees a record: what the reader found, the labels to check against, the day, and the site's own
    mapping to these labels."""

    source: SourceReport
    taxonomy: Taxonomy
    today: date
    local: LocalLabels = field(default_factory=dict, repr=False)

    @property
    def records(self) -> int:
        """How many records a check will see."""
        return self.source.kept

    def header(self, name: str) -> str:
        """The header of a field or identifier as it stands in the export."""
        return self.source.columns.get(name) or self.source.identifier_columns.get(name) or name

    def has(self, *fields: str) -> bool:
        """Whether the export has a column for each of these fields or identifiers."""
        known = {**self.source.columns, **self.source.identifier_columns}
        return all(name in known for name in fields)


class Check(Protocol):
    """Sees every record of one export once, in order, and says what it found.

    It keeps counts, hashes and sketches, never the text of a record. It never raises on any record. It says nothing of what the
    export has no column for, so that a report never claims to have looked.
    """

    name: str

    def __init__(self, export: Export) -> None: ...

    def see(self, record: Record) -> None: ...

    def findings(self) -> Iterable[Finding]: ...


C = TypeVar("C", bound=type)
_CHECKS: dict[str, type[Check]] = {}


def register(check: C) -> C:
    """Class decorator: the class joins the checks, in the order of registration. Raises `UsageError` if the name is taken."""
    name = str(getattr(check, "name", ""))
    if not name or name in _CHECKS:
        raise UsageError(
            tr("a check needs a name of its own", "检查项需要唯一的名称"), got=name or "∅", where="quality"
        )
    _CHECKS[name] = check
    return check


def checks(export: Export) -> list[Check]:
    """One of every registered check, ready for the records of `export`."""
    return [check(export) for check in _CHECKS.values()]
