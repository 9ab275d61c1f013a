"""From a record to its labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from emr_fl_shared.labels.diagnoses import read_term, split_terms
from emr_fl_shared.labels.icd10 import ASTERISK, NOT_A_CODE, UNMAPPED
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.labels.taxonomy import COLUMN, CodeResult, Taxonomy
from emr_fl_shared.records import Record

IGNORED = "ignored"

LocalLabels = Mapping[str, int | None]
"""A site's own decisions: folded value -> label index, or `None` for a value that is to give none."""
NO_LOCAL_LABELS: LocalLabels = MappingProxyType({})


class MappedValue(NamedTuple):
    """A value of a record, the index of its label or `None`, and the reason where there is something to say."""

    value: str
    label: int | None
    reason: str = ""


def map_labels(
    record: Record, taxonomy: Taxonomy, local: LocalLabels = NO_LOCAL_LABELS
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Label indices of a record (sorted, each once) and a reason for every value that gave none.

    Reasons are words such as `unmapped`, `morphology`, `tcm`, `typing-error`, `not-a-code`, `asterisk`, `uncertain`,
    `excluded`, `history`, `ignored`; never the value.
    """
    indices: set[int] = set()
    reasons: list[str] = []
    for _, index, reason in map_values(record, taxonomy, local):
        if index is not None:
            indices.add(index)
        if reason:
            reasons.append(reason)
    return tuple(sorted(indices)), tuple(reasons)


def map_values(
    record: Record, taxonomy: Taxonomy, local: LocalLabels = NO_LOCAL_LABELS
) -> Iterator[MappedValue]:
    """Every value that may give a label, with what it gave.

    The `labels` column counts if the record has it (by Chinese name, English name, id, an ICD-10 code or the name of a diagnosis
    in its place), else the diagnosis codes, else the written diagnosis. The last also counts where no code could be read (codes of
    Chinese medicine, typing errors). `local` decides before all of these. Where a code of the record carries a dagger,
    asterisk codes are its manifestations and give no label.
    """
    if record.labels:
        for value in record.labels:
            yield from _of_label(value, taxonomy, local)
        return
    readable = False
    results = [(code, taxonomy.of_code(code)) for code in record.diagnosis_codes]
    has_dagger = any(result.mark == "†" for _, result in results)
    for code, result in results:
        key = fold_name(code)
        if key in local:
            readable = True
            yield _decided(code, local[key])
            continue
        readable = readable or bool(result.category)
        yield from _of_code(code, result, has_dagger)
    if not readable and record.diagnosis_text and taxonomy.name != COLUMN:
        yield from _of_text(record.diagnosis_text, taxonomy, local)


def _of_label(value: str, taxonomy: Taxonomy, local: LocalLabels) -> Iterator[MappedValue]:
    key = fold_name(value)
    if key in local:
        yield _decided(value, local[key])
        return
    position = taxonomy.index(value)
    if position is not None:
        yield MappedValue(value, position)
        return
    result = taxonomy.of_code(value)
    if result.reason != NOT_A_CODE:
        yield MappedValue(value, result.index, result.reason)
    elif taxonomy.name == COLUMN:
        yield MappedValue(value, None, UNMAPPED)
    else:
        yield from _of_text(value, taxonomy, local)


def _of_code(code: str, result: CodeResult, has_dagger: bool) -> Iterator[MappedValue]:
    manifestation = has_dagger and result.mark == "*"
    if result.other or manifestation:
        yield MappedValue(code, None, ASTERISK)
    if not manifestation:
        yield MappedValue(code, result.index, result.reason)


def _of_text(text: str, taxonomy: Taxonomy, local: LocalLabels) -> Iterator[MappedValue]:
    for term in (text,) if fold_name(text) in local else split_terms(text):
        key = fold_name(term)
        if key in local:
            yield _decided(term, local[key])
            continue
        position = taxonomy.index(term) if not term.isdecimal() else None  # a number is no diagnosis
        if position is not None:
            yield MappedValue(term, position)
            continue
        category, reason = read_term(term)
        if category:
            found = taxonomy.of_code(category)
            yield MappedValue(term, found.index, found.reason)
        else:
            yield MappedValue(term, None, reason)


def _decided(value: str, index: int | None) -> MappedValue:
    return MappedValue(value, index, IGNORED if index is None else "")
