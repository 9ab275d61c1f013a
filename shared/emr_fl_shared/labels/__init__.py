"""Canonical labels: taxonomies, ICD-10 codes, and the labels of a record."""

from __future__ import annotations

from emr_fl_shared.labels.frequency import frequency_groups
from emr_fl_shared.labels.icd10 import ParsedCode, parse_code, parse_range
from emr_fl_shared.labels.mapping import map_labels
from emr_fl_shared.labels.taxonomy import (
    COLUMN,
    OUTPATIENT,
    CodeResult,
    Label,
    Taxonomy,
    check_several,
    column_taxonomy,
    load_taxonomy,
)

__all__ = [
    "COLUMN",
    "OUTPATIENT",
    "CodeResult",
    "Label",
    "ParsedCode",
    "Taxonomy",
    "check_several",
    "column_taxonomy",
    "frequency_groups",
    "load_taxonomy",
    "map_labels",
    "parse_code",
    "parse_range",
]
