"""From a record to its labels."""

from __future__ import annotations

from emr_fl_shared.labels.icd10 import ASTERISK, UNMAPPED
from emr_fl_shared.labels.taxonomy import Taxonomy
from emr_fl_shared.records import Record


def map_labels(record: Record, taxonomy: Taxonomy) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Label indices of a record (sorted, each once) and a reason for every value that gave none.

    The `labels` column counts if the record has it (by Chinese name, English name, id, or an ICD-10 code in its
    place), else the diagnosis codes. Reasons are words such as `unmapped`, `morphology`, `tcm`, `typing-error`,
    `not-a-code`, `asterisk`; never the value. Where a code of the record carries a dagger, asterisk codes are its
    manifestations and give no label.
    """
    indices: set[int] = set()
    reasons: list[str] = []
    if record.labels:
        for value in record.labels:
            position = taxonomy.index(value)
            if position is None:
                result = taxonomy.of_code(value)
                position = result.index
                if position is None:
                    reasons.append(UNMAPPED if result.reason == "not-a-code" else result.reason)
                    continue
            indices.add(position)
        return tuple(sorted(indices)), tuple(reasons)
    results = [taxonomy.of_code(code) for code in record.diagnosis_codes]
    has_dagger = any(result.mark == "†" for result in results)
    for result in results:
        if result.other or (has_dagger and result.mark == "*"):
            reasons.append(ASTERISK)
        if has_dagger and result.mark == "*":
            continue
        if result.index is None:
            reasons.append(result.reason)
        else:
            indices.add(result.index)
    return tuple(sorted(indices)), tuple(reasons)
