"""`Deidentifier`: recognisers over a text, findings settled, operators applied, until nothing more is found."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import emr_fl_shared.deidentify.recognisers  # noqa: F401  (importing registers them)
from emr_fl_shared.deidentify.audit import AuditReport
from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.generalise import Generalisation
from emr_fl_shared.deidentify.operators import Operator, placeholder
from emr_fl_shared.deidentify.parallel import in_parallel, processes
from emr_fl_shared.deidentify.pseudonym import pseudonym
from emr_fl_shared.deidentify.recognisers.known import Row
from emr_fl_shared.deidentify.recurrence import again
from emr_fl_shared.deidentify.registry import Batched, Recogniser, recognisers
from emr_fl_shared.deidentify.spans import Span, settle
from emr_fl_shared.records import TEXT_FIELDS, Record
from emr_fl_shared.text.placeholders import PLACEHOLDER

_MOST_PASSES = 4
_AHEAD = 64
_ALONE = 1000
"""So many records are cleaned before other processes are worth their start."""
CLEANED_FIELDS = (*TEXT_FIELDS, "diagnosis_text", "department")


@dataclass(frozen=True, slots=True)
class CleanedRecord:
    """A record without identifiers, and what was found by field, with offsets into the original."""

    record: Record
    spans: Mapping[str, Sequence[Span]] = field(repr=False)

    @property
    def counts(self) -> Counter[str]:
        """Removals by kind."""
        return Counter(span.kind for spans in self.spans.values() for span in spans)

    def by_field(self) -> dict[str, Counter[str]]:
        """Removals by field and kind."""
        return {name: Counter(span.kind for span in spans) for name, spans in self.spans.items()}


class Deidentifier:
    """Removes identifiers from texts and records.

    `key` keys the pseudonyms (32 bytes from the system's generator if none is given: then pseudonyms differ between
    runs). `operators` replaces placeholders by kind, `generalisation` those of dates, ages, beds and visits by what each
    record says. The audit of everything cleaned so far is in `.audit`.

    >>> clean, spans = Deidentifier().text("患者张建国，电话13800138000，头痛3天。")
    >>> clean
    '患者[PATIENT_NAME]，电话[PHONE]，头痛3天。'
    """

    def __init__(
        self,
        chosen: Sequence[Recogniser] | None = None,
        *,
        key: bytes | None = None,
        operators: Mapping[str, Operator] | None = None,
        generalisation: Generalisation | None = None,
    ) -> None:
        self.recognisers: tuple[Recogniser, ...] = tuple(chosen) if chosen is not None else recognisers()
        self._batched = tuple(part for part in self.recognisers if isinstance(part, Batched))
        self.audit = AuditReport()
        self._key = key or secrets.token_bytes(32)
        self._operators = dict(operators or {})
        self._generalisation = generalisation or Generalisation()

    def text(
        self,
        text: str,
        known: Mapping[str, str] | None = None,
        operators: Mapping[str, Operator] | None = None,
    ) -> tuple[str, list[Span]]:
        """The cleaned text and what was found in the original: spans in order, none overlapping. Never raises.

        `operators` stand in for the cleaner's own.

        A second pass over the result finds nothing: the recognisers run again over the cleaned text until they are
        silent, because a removal may uncover a context (`张建国13800138000`).
        """
        if not text:
            return text, []
        known = known or {}
        operators = self._operators if operators is None else operators
        spans: list[Span] = []
        written: list[tuple[int, int, Span]] = []
        current = text
        for _ in range(_MOST_PASSES):
            found = self._find(current, known)
            if not found:
                break
            spans = settle([*spans, *_in_original(found, written)]) if spans else found
            current, written = self._apply(text, spans, operators)
        return current, spans

    def warm(self, texts: Sequence[str]) -> None:
        """Let recognisers that work on batches see the texts that come next, all at once. Changes no result."""
        folded = [fold(text) for text in texts] if self._batched else []
        for recogniser in self._batched:
            recogniser.warm(folded)

    def cleaned(self, records: Iterable[Record]) -> Iterator[tuple[Record, CleanedRecord]]:
        """Each record and what `clean` makes of it, in order.

        Recognisers that work on batches read the texts of many records at once. Without such ones, and if all are of this
        package, many records are cleaned by several processes (`parallel.processes`). Either way the results are those of `clean`.
        """
        waiting = iter(records)
        count = processes() if self._may_leave_this_process() else 1
        alone = waiting if count == 1 else islice(waiting, _ALONE)
        while batch := list(islice(alone, _AHEAD)):
            self.warm([getattr(record, name) for record in batch for name in CLEANED_FIELDS])
            for record in batch:
                yield record, self.clean(record)
        for record, result in in_parallel(self._clean, waiting, count=count):
            self.audit.add(result.by_field())
            yield record, result

    def _may_leave_this_process(self) -> bool:
        """A recogniser of the site's own may need what only this process has, such as a module that was never installed."""
        return not self._batched and all(
            type(part).__module__.startswith("emr_fl_shared.") for part in self.recognisers
        )

    def record(self, record: Record) -> tuple[Record, Counter[str]]:
        """The record without identifiers, and the number of removals by kind.

        All text fields and the written diagnosis are cleaned; identifier columns are emptied; `patient_id` and `record_id`
        become pseudonyms (a record without a patient is its own patient); the date of the visit becomes its quarter
        (`2024-Q1`) unless dates are shifted, ages of 90 and over `90+`, and a ward's number leaves the department.
        """
        cleaned = self.clean(record)
        return cleaned.record, cleaned.counts

    def clean(self, record: Record) -> CleanedRecord:
        """As `record`, and the findings by field."""
        cleaned = self._clean(record)
        self.audit.add(cleaned.by_field())
        return cleaned

    def _clean(self, record: Record) -> CleanedRecord:
        columns = dict(record.identifiers)
        columns.setdefault("patient_id", record.patient_id)
        columns.setdefault("record_id", record.record_id)
        known = Row(columns)
        operators = {**self._operators, **self._generalisation.operators(record, self._key)}
        found: dict[str, list[Span]] = {}
        texts: dict[str, str] = dict.fromkeys(CLEANED_FIELDS, "")
        for name in CLEANED_FIELDS:
            value = getattr(record, name)
            if not value:
                continue
            texts[name], spans = self.text(value, known, operators)
            if spans:
                found[name] = spans
        patient = (
            ("patient", record.patient_id) if record.patient_id.strip() else ("record", record.record_id)
        )
        written = replace(
            record,
            chief_complaint=texts["chief_complaint"],
            present_illness=texts["present_illness"],
            past_history=texts["past_history"],
            text=texts["text"],
            diagnosis_text=texts["diagnosis_text"],
            department=texts["department"],
            identifiers={},
            patient_id=pseudonym(self._key, *patient),
            record_id=pseudonym(self._key, "record", record.record_id),
            visit_date=self._generalisation.visit_date(record, self._key),
            age=self._generalisation.age(record.age),
        )
        return CleanedRecord(written, found)

    def _find(self, text: str, known: Mapping[str, str]) -> list[Span]:
        folded = fold(text)
        found = [span for recogniser in self.recognisers for span in recogniser.find(folded, known)]
        if not found:
            return []
        found += again(folded, found)
        written = [match.span() for match in PLACEHOLDER.finditer(text)] if "[" in text else []
        inside = [
            span
            for span in found
            if 0 <= span.start < span.end <= len(text)
            and not any(start < span.end and span.start < end for start, end in written)
        ]
        return settle(inside)

    @staticmethod
    def _apply(
        text: str, spans: Sequence[Span], operators: Mapping[str, Operator]
    ) -> tuple[str, list[tuple[int, int, Span]]]:
        """The text with operators applied, and where in it each span's replacement stands."""
        parts: list[str] = []
        written: list[tuple[int, int, Span]] = []
        position = length = 0
        for span in spans:
            operator = operators.get(span.kind, placeholder)
            new = operator(span.kind, text[span.start : span.end])
            length += span.start - position
            written.append((length, length + len(new), span))
            length += len(new)
            parts.append(text[position : span.start])
            parts.append(new)
            position = span.end
        parts.append(text[position:])
        return "".join(parts), written


def _in_original(found: Sequence[Span], written: Sequence[tuple[int, int, Span]]) -> list[Span]:
    """Spans of the cleaned text as spans of the original; what touches a replacement takes in all that it replaced."""

    def original(offset: int, *, end: bool) -> int:
        shift = 0
        for start, stop, span in written:
            if offset < start or (end and offset == start):
                break
            if offset < stop or (end and offset == stop):
                return span.end if end else span.start
            shift = span.end - stop
        return offset + shift

    return [
        span._replace(start=original(span.start, end=False), end=original(span.end, end=True))
        for span in found
    ]
