"""A hospital's export or database to records."""

from __future__ import annotations

from emr_fl_shared.sources.reader import iter_records, read_headers, read_records
from emr_fl_shared.sources.report import Rejected, SourceReport, describe_reason
from emr_fl_shared.sources.source import AnySource, Source, as_source, short_name

__all__ = [
    "AnySource",
    "Rejected",
    "Source",
    "SourceReport",
    "as_source",
    "describe_reason",
    "iter_records",
    "read_headers",
    "read_records",
    "short_name",
]
