"""From an export to texts and labels: the steps that a site's training records and the server's held-out sets share.

source → de-identify → normalise → standardise, where the model has it so → mask quoted diagnoses → map labels. Raw text stays in memory only.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.masking import mask_leakage
from emr_fl_shared.deidentify.operators import year_and_month
from emr_fl_shared.deidentify.pseudonym import pseudonym
from emr_fl_shared.errors import DataError
from emr_fl_shared.labels import NO_LOCAL_LABELS, LocalLabels, Taxonomy, map_labels
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.messages import tr
from emr_fl_shared.records import Record, note_text
from emr_fl_shared.sources import AnySource, SourceReport, as_source, iter_records
from emr_fl_shared.text.normalise import normalise
from emr_fl_shared.text.standardise import standardise


@dataclass(frozen=True)
class Prepared:
    """Texts with labels, in the order of the export.

    `texts` n strings; `labels` bool [n, K]; `patients` n pseudonyms (one per patient, never an identifier; a record without a
    patient is a patient of its own); `months` int32 [n], year · 12 + month − 1 of the visit, −1 without a date;
    `identifiers` removed spans by kind; `dropped` records by reason; `unmapped` label values by reason;
    `leaks` texts in which a quoted diagnosis was masked.
    """

    texts: list[str] = field(repr=False)
    labels: NDArray[np.bool_] = field(repr=False)
    patients: list[str] = field(repr=False)
    months: NDArray[np.int32] = field(repr=False)
    identifiers: Counter[str]
    dropped: Counter[str]
    unmapped: Counter[str]
    leaks: int

    def __len__(self) -> int:
        return len(self.texts)


def label_counts(source: AnySource, columns: Mapping[str, str] | None) -> Counter[str]:
    """How many records of a source carry each label of its labels column, as `count_labels` counts."""
    records, _ = iter_records(source, columns)
    return count_labels(records)


def count_labels(records: Iterable[Record]) -> Counter[str]:
    """How many records carry each label. Spellings that a label set takes for one name are one label, under the spelling that
    most records have."""
    counts: Counter[str] = Counter()
    spellings: dict[str, Counter[str]] = {}
    for record in records:
        found = {name: fold_name(name) for name in {label.strip() for label in record.labels}}
        counts.update({folded for folded in found.values() if folded})
        for name, folded in found.items():
            spellings.setdefault(folded, Counter())[name] += 1
    return Counter(
        {
            min(spellings[folded], key=lambda name: (-spellings[folded][name], name)): count
            for folded, count in counts.items()
        }
    )


def prepare(
    source: AnySource,
    columns: Mapping[str, str] | None,
    taxonomy: Taxonomy,
    *,
    key: bytes,
    deidentifier: Deidentifier | None = None,
    standardised: bool = False,
    see: Callable[[Record], None] = lambda record: None,
) -> Prepared:
    """Read and prepare one source, record by record. `key` keys the pseudonyms; `deidentifier` stands in for the default cleaner
    with that key; `standardised`: whether texts pass the input standardiser (`model.standardise`); `see` is called with each
    de-identified record that is kept, in their order.

    Raises as `read_records` does, and `DataError` if no record is left.
    """
    records, report = iter_records(source, columns)
    where = str(as_source(source))
    return prepare_read(
        records,
        report,
        taxonomy,
        key=key,
        where=where,
        deidentifier=deidentifier,
        standardised=standardised,
        see=see,
    )


def prepare_read(
    records: Iterable[Record],
    report: SourceReport,
    taxonomy: Taxonomy,
    *,
    key: bytes,
    where: str,
    deidentifier: Deidentifier | None = None,
    local: LocalLabels = NO_LOCAL_LABELS,
    standardised: bool = False,
    see: Callable[[Record], None] = lambda record: None,
) -> Prepared:
    """Prepare what was read from `where`, each record once; `local`: the site's own mapping. Raises `DataError` if no record is left."""
    prepared = prepare_records(
        records,
        taxonomy,
        key=key,
        deidentifier=deidentifier,
        local=local,
        standardised=standardised,
        see=see,
    )
    prepared.dropped.update(report.skipped)
    if not prepared.texts:
        raise DataError(
            tr("no record is left to work with", "没有可用的记录"),
            where=where,
            got=", ".join(f"{reason}: {count}" for reason, count in sorted(prepared.dropped.items())),
            expected=tr(
                "records with a text and at least one label of ", "有文本并且至少有一个标签的记录，标签体系 "
            )
            + taxonomy.name,
            do=tr("check the label column and [labels] taxonomy", "请检查标签列和 [labels] taxonomy"),
        )
    return prepared


def prepare_records(
    records: Iterable[Record],
    taxonomy: Taxonomy,
    *,
    key: bytes,
    deidentifier: Deidentifier | None = None,
    local: LocalLabels = NO_LOCAL_LABELS,
    standardised: bool = False,
    see: Callable[[Record], None] = lambda record: None,
) -> Prepared:
    """Prepare records, each read once."""
    deidentifier = deidentifier or Deidentifier(key=key)
    texts: list[str] = []
    patients: list[str] = []
    months: list[int] = []
    rows: list[tuple[int, ...]] = []
    identifiers: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    unmapped: Counter[str] = Counter()
    leaks = 0
    seen: Counter[str] = Counter()
    mapped: deque[tuple[int, ...]] = (
        deque()
    )  # labels of the records that are on their way through the cleaner

    def labelled() -> Iterator[Record]:
        for record in records:
            indices, reasons = map_labels(record, taxonomy, local)
            unmapped.update(reasons)
            if indices:
                mapped.append(indices)
                yield record
            else:
                dropped["no-label"] += 1

    for record, result in deidentifier.cleaned(labelled()):
        clean, indices = result.record, mapped.popleft()
        identifiers.update(result.counts)
        text, masked = model_text(note_text(clean), standardised=standardised)
        if not text.strip():
            dropped["no-text"] += 1
            continue
        leaks += bool(masked)
        see(clean)
        texts.append(text)
        patients.append(clean.patient_id if record.patient_id.strip() else _own_patient(record, key, seen))
        when = year_and_month(record.visit_date)
        months.append(12 * when[0] + when[1] - 1 if when else -1)
        rows.append(indices)
    labels = np.zeros((len(rows), len(taxonomy.labels)), dtype=np.bool_)
    for row, indices in enumerate(rows):
        labels[row, list(indices)] = True
    return Prepared(
        texts, labels, patients, np.array(months, dtype=np.int32), identifiers, dropped, unmapped, leaks
    )


def model_text(text: str, *, standardised: bool) -> tuple[str, int]:
    """A de-identified text as the model reads it, and how many quoted diagnoses were taken out. Idempotent."""
    text = normalise(text)
    return mask_leakage(standardise(text) if standardised else text)


def _own_patient(record: Record, key: bytes, seen: Counter[str]) -> str:
    """A pseudonym from what a record says, told apart from equal ones by counting them in `seen`.

    The record's number will not do: it may be no more than its row, which is another's as soon as one is inserted above.
    """
    content = repr(replace(record, record_id="").content())
    digest = pseudonym(key, "content", content)
    seen[digest] += 1
    return pseudonym(key, "content", f"{digest}|{seen[digest]}")
