"""The record of one visit and its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

TEXT_FIELDS = ("chief_complaint", "present_illness", "past_history", "text")


@dataclass(frozen=True, slots=True)
class Record:
    """One outpatient visit as the hospital's export holds it.

    Nothing that could identify a person is part of the representation, so that a record that slips into a
    log line or an exception shows nothing.
    """

    record_id: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    visit_date: str = field(default="", repr=False)
    department: str = field(default="", repr=False)
    sex: str = field(default="", repr=False)
    age: str = field(default="", repr=False)
    chief_complaint: str = field(default="", repr=False)
    present_illness: str = field(default="", repr=False)
    past_history: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    diagnosis_codes: tuple[str, ...] = field(default=(), repr=False)
    diagnosis_text: str = field(default="", repr=False)
    labels: tuple[str, ...] = field(default=(), repr=False)
    identifiers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def content(self) -> tuple[object, ...]:
        """All that the record holds, in the order of its fields: equal records have equal contents, and nothing else has."""
        *values, identifiers = (getattr(self, name) for name in _FIELDS)
        return (*values, tuple(sorted(identifiers.items())))


_FIELDS = tuple(item.name for item in fields(Record))


def note_text(record: Record) -> str:
    """The text that the classifier reads: the chief complaint first, so that truncation keeps it.

    The diagnosis is never part of it.
    """
    parts = [getattr(record, name).strip().rstrip("。;；") for name in TEXT_FIELDS]
    return "。".join(part for part in parts if part)
