"""Canonical labels: taxonomies, ICD-10 codes, and the labels of a record."""

from __future__ import annotations

from emr_fl_shared.labels.chapters import Chapter, chapters
from emr_fl_shared.labels.diagnoses import load_diagnoses, read_term, split_terms
from emr_fl_shared.labels.frequency import frequency_groups
from emr_fl_shared.labels.icd10 import ParsedCode, parse_code, parse_range
from emr_fl_shared.labels.mapping import NO_LOCAL_LABELS, LocalLabels, MappedValue, map_labels, map_values
from emr_fl_shared.labels.names import fold_name
from emr_fl_shared.labels.taxonomy import (
    COLUMN,
    OUTPATIENT,
    CodeResult,
    Label,
    Taxonomy,
    check_chapters,
    check_several,
    column_taxonomy,
    load_taxonomy,
)

__all__ = [
    "COLUMN",
    "NO_LOCAL_LABELS",
    "OUTPATIENT",
    "Chapter",
    "CodeResult",
    "Label",
    "LocalLabels",
    "MappedValue",
    "ParsedCode",
    "Taxonomy",
    "chapters",
    "check_chapters",
    "check_several",
    "column_taxonomy",
    "fold_name",
    "frequency_groups",
    "load_diagnoses",
    "load_taxonomy",
    "map_labels",
    "map_values",
    "parse_code",
    "parse_range",
    "read_term",
    "split_terms",
]
