"""`read_records`: a hospital's export or database to records, and a report of what could not be used.

Example::

    records, report = read_records("export.csv", {"chief_complaint": "ZS"})
    print(report.kept, report.skipped)

    records, report = iter_records(Source("sqlite:///visits.db", table="v_visits"))
    for record in records:  # one at a time; the report is complete after the last one
        ...

    source = RereadSource("export.csv")
    for _ in range(2):
        records, report = source.records()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from emr_fl_shared.errors import DataError, UsageError
from emr_fl_shared.messages import tr
from emr_fl_shared.records import Record
from emr_fl_shared.sources.delimited import read_delimited
from emr_fl_shared.sources.files import RecordFile
from emr_fl_shared.sources.headers import require, resolve
from emr_fl_shared.sources.report import ABOVE_HEADER, Rejected, SourceReport
from emr_fl_shared.sources.rows import records_of
from emr_fl_shared.sources.source import AnySource, Source, as_source
from emr_fl_shared.sources.tabular import Table


def read_records(
    source: AnySource,
    columns: Mapping[str, str] | None = None,
    *,
    require_labels: bool = True,
    rejected: Callable[[Rejected], None] | None = None,
) -> tuple[list[Record], SourceReport]:
    """Read a whole source: a file (CSV, TSV, XLSX, XLS, JSONL, Parquet) or a database.

    `columns` maps fields to headers (`{"chief_complaint": "ZS"}`) where the header is not understood by itself.
    With `require_labels` a source without a label column is refused and rows without a label are left out.
    `rejected` is called with every row below the header that is left out.
    A source with free-text diagnoses only gives them as `labels`, to be matched by name and never by guessing.

    Returns records in the order of the source. A record without its own number gets that of its row.
    Raises `DataError`: no such file, empty, binary, mixed encodings, damaged, header only, no text column, no label column,
    a mapped column that does not exist, no row left, a database that does not answer; `UsageError` for a query or a sheet
    where there is none; `SettingsError` or `PolicyError` for a password that stands in a URL, is missing or is open to others.
    """
    records, report = iter_records(source, columns, require_labels=require_labels, rejected=rejected)
    return list(records), report


def iter_records(
    source: AnySource,
    columns: Mapping[str, str] | None = None,
    *,
    require_labels: bool = True,
    rejected: Callable[[Rejected], None] | None = None,
) -> tuple[Iterator[Record], SourceReport]:
    """The same, one record at a time: a million records never sit in memory at once.

    The report is complete when the last record was taken. What is wrong with the source as a whole is raised at once, what
    only the rows show (and that none can be used) while they are read.
    """
    return RereadSource(source).records(columns, require_labels=require_labels, rejected=rejected)


class RereadSource:
    """A source that is read more than once; what can be read once only (a pipe) is kept in memory, all else is opened anew."""

    def __init__(self, source: AnySource) -> None:
        self.source = as_source(source)
        self._file: RecordFile | None = None

    def records(
        self,
        columns: Mapping[str, str] | None = None,
        *,
        require_labels: bool = True,
        rejected: Callable[[Rejected], None] | None = None,
    ) -> tuple[Iterator[Record], SourceReport]:
        """The records from the first one on, as `iter_records` gives them, and a report of this reading. Raises as it does."""
        return _records(self.source, self._table(columns), columns, require_labels, rejected or _forget)

    def _table(self, columns: Mapping[str, str] | None) -> Table:
        if self.source.is_database:
            from emr_fl_shared.sources.database import read_database

            return read_database(self.source)
        if self.source.query or self.source.table:
            raise UsageError(
                tr(
                    "query and table are for databases, and this is a file",
                    "query 与 table 只用于数据库，而这是文件",
                ),
                where=str(self.source),
                expected="sqlite:///FILE",
            )
        if self._file is None:
            self._file = RecordFile(self.source.path)
        return _table_of_file(self._file, self.source, columns)


def same_reading(where: AnySource, first: SourceReport, later: SourceReport) -> None:
    """Raises `DataError` unless two readings of a source counted the same: it was changed between them."""
    if first != later:
        raise changed_between(where)


def changed_between(where: AnySource) -> DataError:
    """The error of a source that gave other records when it was read again."""
    return DataError(
        tr("the source was changed while it was read", "读取过程中来源被修改"),
        where=str(as_source(where)),
        do=tr(
            "start again when nothing writes to it; nothing was kept",
            "请在无写入时重新开始；未保留任何内容",
        ),
    )


def _records(
    where: Source,
    table: Table,
    columns: Mapping[str, str] | None,
    require_labels: bool,
    rejected: Callable[[Rejected], None],
) -> tuple[Iterator[Record], SourceReport]:
    sample = table.sample()
    understood_columns = resolve(table.header, columns, where=table.where, rows=sample)
    require(understood_columns, table.header, sample, where=table.where, labels=require_labels)
    report = SourceReport(_name(where), table.encoding, table.delimiter, format=table.format)
    report.columns = {name: table.header[index] for name, index in understood_columns.fields.items()}
    report.identifier_columns = {
        name: table.header[index] for name, index in understood_columns.identifiers.items()
    }
    report.ignored_columns = understood_columns.ignored
    report.skipped[ABOVE_HEADER] += table.above_header
    report.rows += table.above_header
    records = records_of(table, understood_columns, report, require_labels=require_labels, rejected=rejected)
    return records, report


def read_headers(source: AnySource) -> tuple[str, ...]:
    """The headers of a source, as they stand there. Raises as `read_records` does."""
    return RereadSource(source)._table(None).header


def _table_of_file(file: RecordFile, source: Source, columns: Mapping[str, str] | None) -> Table:
    kind = file.kind()
    if kind == "xlsx":
        from emr_fl_shared.sources.workbook import read_workbook

        return read_workbook(file, columns, sheet=source.sheet)
    if kind == "xls":
        from emr_fl_shared.sources.old_workbook import read_old_workbook

        return read_old_workbook(file, columns, sheet=source.sheet)
    if source.sheet:
        raise UsageError(
            tr("sheet is for a workbook, and this is none", "sheet 只用于工作簿，而这不是工作簿"),
            where=str(source),
            got=kind,
            expected="XLSX, XLS",
        )
    if kind == "parquet":
        from emr_fl_shared.sources.parquet import read_parquet

        return read_parquet(file)
    if kind == "jsonl":
        from emr_fl_shared.sources.json_lines import read_json_lines

        return read_json_lines(file)
    return read_delimited(file, columns)


def _name(source: Source) -> str:
    """What the report calls the source: the name of the file, or the database without user and options."""
    if not source.is_database:
        return source.path.name
    return str(source).rpartition("@")[2].rpartition("/")[2] or "database"


def _forget(_: Rejected) -> None:
    """For callers that want the counts only."""
