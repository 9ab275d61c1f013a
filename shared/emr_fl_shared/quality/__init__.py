"""What is in an export and what is wrong with it: counts only, never a value of a record."""

from __future__ import annotations

from emr_fl_shared.quality.finding import Finding, Level, Wording, defect, worst
from emr_fl_shared.quality.registry import Check, Export, checks, register
from emr_fl_shared.quality.report import FileReport, QualityReport, Source, check_files

__all__ = [
    "Check",
    "Export",
    "FileReport",
    "Finding",
    "Level",
    "QualityReport",
    "Source",
    "Wording",
    "check_files",
    "checks",
    "defect",
    "register",
    "worst",
]
