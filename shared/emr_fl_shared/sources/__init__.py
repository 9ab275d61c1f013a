"""A hospital's export or database to records."""

from __future__ import annotations

from emr_fl_shared.sources.reader import (
    RereadSource,
    changed_between,
    iter_records,
    read_headers,
    read_records,
    same_reading,
)
from emr_fl_shared.sources.report import Rejected, SourceReport, describe_reason
from emr_fl_shared.sources.source import AnySource, Source, as_source, short_name

__all__ = [
    "AnySource",
    "Rejected",
    "RereadSource",
    "Source",
    "SourceReport",
    "as_source",
    "changed_between",
    "describe_reason",
    "iter_records",
    "read_headers",
    "read_records",
    "same_reading",
    "short_name",
]
