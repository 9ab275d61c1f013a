"""A hospital's export to records."""

from __future__ import annotations

from emr_fl_shared.sources.reader import Rejected, SourceReport, describe_reason, read_headers, read_records

__all__ = ["Rejected", "SourceReport", "describe_reason", "read_headers", "read_records"]
