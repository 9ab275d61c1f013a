"""`check_files`: every check over one or more exports, and what they found together.

Example::

    report = check_files([Source(Path("export.csv"))])
    print(report.level, [finding.key for finding in report.findings if finding.level != "ok"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

import emr_fl_shared.quality.contradictions
import emr_fl_shared.quality.identifiers
import emr_fl_shared.quality.labelling
import emr_fl_shared.quality.near_copies
import emr_fl_shared.quality.persons
import emr_fl_shared.quality.repeats
import emr_fl_shared.quality.source
import emr_fl_shared.quality.values  # noqa: F401  (importing registers them)
from emr_fl_shared.errors import DataError
from emr_fl_shared.labels import (
    COLUMN,
    NO_LOCAL_LABELS,
    OUTPATIENT,
    MappedValue,
    Taxonomy,
    column_taxonomy,
    load_taxonomy,
    map_labels,
    map_values,
)
from emr_fl_shared.labels.icd10 import ASTERISK
from emr_fl_shared.labels.local import LocalMapping
from emr_fl_shared.labels.mapping import IGNORED
from emr_fl_shared.messages import tr
from emr_fl_shared.quality.finding import Finding, Level, Wording, worst
from emr_fl_shared.quality.near_copies import NearCopies, near_copies_across
from emr_fl_shared.quality.registry import Check, Export, checks
from emr_fl_shared.quality.repeats import Repeats, repeats_across
from emr_fl_shared.quality.source import ignored_headers
from emr_fl_shared.records import Record
from emr_fl_shared.sources import (
    AnySource,
    Rejected,
    RereadSource,
    SourceReport,
    as_source,
    same_reading,
    short_name,
)

SCHEMA = 1
FAMILIES = ("file", "records", "patients", "values", "contradictions", "labels", "identifiers")
"""The first part of a finding's key, in the order of the report; others follow."""
RejectedRow = Callable[[AnySource, Rejected], None]
UnmappedValue = Callable[[AnySource, MappedValue], None]


@dataclass(frozen=True)
class Source:
    """An export to check, the headers that its columns need (`{"chief_complaint": "ZS"}`), and the site's own mapping of labels."""

    location: AnySource
    columns: Mapping[str, str] = field(default_factory=dict)
    local_labels: LocalMapping | None = None


@dataclass(frozen=True)
class FileReport:
    """What was found in one export; `source` and `taxonomy` are `None` if it could not be read."""

    location: AnySource
    source: SourceReport | None
    taxonomy: Taxonomy | None
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        """The file's name; a database's table, or `query`."""
        return short_name(self.location)

    @property
    def level(self) -> Level:
        """The worst level of its findings."""
        return worst(list(self.findings))

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        taxonomy = self.taxonomy
        return {
            "file": str(self.location),
            "level": self.level,
            "source": {**self.source.to_json(), "ignored_columns": ignored_headers(self.source)}
            if self.source
            else None,
            "labels": {
                "name": taxonomy.name,
                "version": taxonomy.version,
                "count": len(taxonomy),
                "sha256": taxonomy.checksum,
            }
            if taxonomy
            else None,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True)
class QualityReport:
    """All files and what they share."""

    files: tuple[FileReport, ...]
    across: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of every file, then those across files."""
        return (*(finding for file in self.files for finding in file.findings), *self.across)

    @property
    def level(self) -> Level:
        """The worst level of all findings."""
        return worst(list(self.findings))

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; `docs/data-check.md` describes them."""
        return {
            "schema": SCHEMA,
            "level": self.level,
            "files": [file.to_json() for file in self.files],
            "across": [finding.to_json() for finding in self.across],
        }


def check_files(
    sources: Sequence[Source],
    *,
    taxonomy: Taxonomy | str | None = None,
    today: date | None = None,
    rejected: RejectedRow | None = None,
    unmapped: UnmappedValue | None = None,
    progress: Callable[[AnySource], None] | None = None,
) -> QualityReport:
    """Check exports, each by itself and all for what is in several.

    `taxonomy`: a label set, its name or file, or `"column"` for names as they stand; left out, the built-in one, or names as they
    stand where most values of a label column are none of its. `today` is the day after which dates are in the future. `rejected`
    gets each row that was left out, and `unmapped` each value that gave no label, for the hospital's own eyes; `progress` each file before it is read.

    Every file is read twice, one record at a time: once for its counts and labels, once for the checks.

    A file that can't be read is a finding of level `stop`, not an exception. Raises `SettingsError` for a label set that can't be
    loaded, and for a mapping that does not fit it.
    """
    if isinstance(taxonomy, str) and taxonomy != COLUMN:
        taxonomy = load_taxonomy(taxonomy)
    files: list[FileReport] = []
    repeats: list[Repeats] = []
    copies: list[NearCopies] = []
    for source in sources:
        if progress:
            progress(source.location)
        report, made = _check_file(source, taxonomy, today or date.today(), rejected, unmapped)
        files.append(report)
        repeats += [check for check in made if isinstance(check, Repeats)]
        copies += [check for check in made if isinstance(check, NearCopies)]
    across: tuple[Finding, ...] = ()
    if len(repeats) > 1:
        across = (repeats_across(repeats), near_copies_across(copies))
    return QualityReport(tuple(files), across)


def _check_file(
    source: Source,
    given: Taxonomy | str | None,
    today: date,
    rejected: RejectedRow | None,
    unmapped: UnmappedValue | None,
) -> tuple[FileReport, list[Check]]:
    if not as_source(source.location).is_database and not as_source(source.location).path.exists():
        missing = DataError(
            tr("no such file", "没有这个文件"),
            where=str(source.location),
            do=tr("check the path; it is relative to the current folder", "请检查路径；它相对于当前目录"),
        )
        return FileReport(source.location, None, None, (unreadable(missing),)), []
    problems: list[Finding] = []
    opened = RereadSource(source.location)
    keep = partial(rejected, source.location) if rejected else None
    own = source.local_labels
    asked = OUTPATIENT if given is None and own is not None else given
    with_labels = True
    try:
        taxonomy, report = _look_through(opened, source, asked, with_labels)
    except DataError as error:
        problems.append(unreadable(error))
        # Without labels nothing trains, but everything else can be looked at.
        with_labels = False
        try:
            taxonomy, report = _look_through(opened, source, asked, with_labels)
        except DataError:
            _hand_over_what_was_read(opened, source, keep)
            return FileReport(source.location, None, None, tuple(problems)), []
    local = own.bind(taxonomy) if own is not None else NO_LOCAL_LABELS
    made = checks(Export(report, taxonomy, today, local))
    try:
        records, again = opened.records(source.columns, require_labels=with_labels, rejected=keep)
        for record in records:
            for check in made:
                check.see(record)
            if unmapped:
                for value in map_values(record, taxonomy, local):
                    if value.label is None and value.reason not in (ASTERISK, IGNORED):
                        unmapped(source.location, value)
        same_reading(source.location, report, again)
    except DataError as error:
        return FileReport(source.location, None, None, (*problems, unreadable(error))), []
    findings = sorted((finding for check in made for finding in check.findings()), key=_family)
    return FileReport(source.location, report, taxonomy, (*problems, *findings)), made


def _look_through(
    opened: RereadSource, source: Source, given: Taxonomy | str | None, with_labels: bool
) -> tuple[Taxonomy, SourceReport]:
    """The label set to check against and the complete report of a first reading. Raises `DataError`."""
    records, report = opened.records(source.columns, require_labels=with_labels)
    return _label_set(records, given), report


def _family(finding: Finding) -> int:
    name = finding.key.partition(".")[0]
    return FAMILIES.index(name) if name in FAMILIES else len(FAMILIES)


def _hand_over_what_was_read(
    opened: RereadSource, source: Source, keep: Callable[[Rejected], None] | None
) -> None:
    """The rows that were left out before a source could not be read any further."""
    if keep:
        with suppress(DataError):
            for _ in opened.records(source.columns, rejected=keep)[0]:
                pass


def unreadable(error: DataError) -> Finding:
    """The error as a finding that stops; its text is in the language in force."""
    head, *_ = error.render().splitlines()
    return Finding(
        "file.unreadable",
        Wording("reading", "读取"),
        "stop",
        1,
        Wording(head, head),
        Wording(error.do, error.do),
    )


def _label_set(records: Iterable[Record], given: Taxonomy | str | None) -> Taxonomy:
    """Reads all `records`, whatever was given: the report is complete afterwards."""
    built_in = load_taxonomy(OUTPATIENT)
    names: set[str] = set()
    labelled = mapped = 0
    for record in records:
        if record.labels and not isinstance(given, Taxonomy):
            names.update(record.labels)
            if given is None:
                labelled += 1
                mapped += bool(map_labels(record, built_in)[0])
    if isinstance(given, Taxonomy):
        return given
    if given == OUTPATIENT or (labelled and 2 * mapped >= labelled):
        return built_in
    # A column without any name leaves nothing to make a label set of.
    return column_taxonomy(names) if any(name.strip() for name in names) else built_in
