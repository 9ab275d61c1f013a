"""The report as one page that is complete in itself and fetches nothing, dressed as the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emr_fl_deploy.data_check.charts import Bar, empty_chart, labels_chart
from emr_fl_server.report.charts import responsive
from emr_fl_server.report.page import page_dress, page_environment
from emr_fl_server.report.svg import Words, same
from emr_fl_shared.durable import write_durably
from emr_fl_shared.labels import COLUMN, Taxonomy, frequency_groups
from emr_fl_shared.messages import language
from emr_fl_shared.quality import FileReport, Finding, QualityReport, Wording
from emr_fl_shared.quality.source import ignored_headers
from emr_fl_shared.sources import SourceReport

WIDE = 1088.0
"""Width of a chart that takes the whole page, CSS pixels."""
_LEVELS = {
    "ok": Words("ok", "正常"),
    "warning": Words("warning", "警告"),
    "stop": Words("mend first", "须修复"),
}


def write_page(report: QualityReport, path: Path) -> None:
    """Write the page, readable by the owner only. Raises `StorageError`; an older page is then as it was."""
    write_durably(path, [render(report, opens_in=language()).encode("utf-8", "replace")])


def render(report: QualityReport, *, opens_in: str) -> str:
    """The page as text. `opens_in`: the language shown first, `zh` or `en`."""
    environment = page_environment("emr_fl_deploy.data_check")
    files = [_file(number, file) for number, file in enumerate(report.files, 1)]
    return environment.get_template("data_check.html.jinja").render(
        opens_in=opens_in,
        **page_dress(environment),
        files=files,
        across=[_row(finding) for finding in report.across],
        rows=f"{sum(file.source.rows for file in report.files if file.source):,}",
        kept=f"{sum(file.source.kept for file in report.files if file.source):,}",
        warnings=sum(finding.level == "warning" for finding in report.findings),
        stops=sum(finding.level == "stop" for finding in report.findings),
    )


def _words(wording: Wording) -> Words:
    return Words(wording.en, wording.zh)


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "level_name": _LEVELS[finding.level],
        "subject": _words(finding.subject),
        "seen": _words(finding.seen),
        "do": _words(finding.do) if finding.do else None,
    }


def _file(number: int, file: FileReport) -> dict[str, Any]:
    by_key = {finding.key: finding for finding in file.findings}
    source = file.source
    return {
        "id": f"file-{number}",
        "name": file.name,
        "rows": f"{source.rows:,}" if source else None,
        "kept": f"{source.kept:,}" if source else None,
        "left_out": f"{source.skipped.total():,}" if source else None,
        "warnings": sum(finding.level == "warning" for finding in file.findings),
        "stops": sum(finding.level == "stop" for finding in file.findings),
        "found": [_row(finding) for finding in file.findings if finding.level != "ok"],
        "seen": [
            _row(finding)
            for finding in file.findings
            if finding.level == "ok" and not finding.silent and finding.key != "file.columns"
        ],
        "nothing": [_words(finding.subject) for finding in file.findings if finding.silent],
        "columns": _columns(file),
        "labels": _labels(by_key.get("labels.frequency"), file.taxonomy),
        "empty": _empty(by_key.get("file.empty_fields"), source),
    }


def _columns(file: FileReport) -> list[tuple[str, str, Words]]:
    """(header, field, kind) of every column."""
    if file.source is None:
        return []
    field, identifier = Words("field", "字段"), Words("identifier", "标识符")
    return [
        *((header, name, field) for name, header in file.source.columns.items()),
        *((header, name, identifier) for name, header in file.source.identifier_columns.items()),
        *((header, "–", Words("ignored", "忽略")) for header in ignored_headers(file.source)),
    ]


def _labels(finding: Finding | None, taxonomy: Taxonomy | None) -> dict[str, Any] | None:
    if finding is None or taxonomy is None or not finding.count:
        return None
    counts = list(finding.details.values())
    groups = frequency_groups(counts)
    if taxonomy.name == COLUMN:  # names as they stand in the data are cells of records
        names = [same(name) for name in finding.details]
    else:
        names = [Words(label.en, label.zh) for label in taxonomy.labels]
    bars = sorted(
        (Bar(name, count, group) for name, count, group in zip(names, counts, groups, strict=True)),
        key=lambda bar: -bar.count,
    )
    label = Words("Records of each label; the table below has the numbers", "各标签的记录数；数值见下表")
    return {
        "chart": responsive(lambda width: labels_chart(bars, label, width), WIDE),
        "rows": [(bar.name, f"{bar.count:,}", bar.count) for bar in bars],
        "seen": _words(finding.seen),
    }


def _empty(finding: Finding | None, source: SourceReport | None) -> Any:
    if finding is None or source is None or not finding.count:
        return None
    headers = {**source.columns, **source.identifier_columns}
    total = source.kept
    bars = [
        Bar(same(headers[name]), count, "noisy" if 2 * count > total else "standard")
        for name, count in sorted(finding.details.items(), key=lambda item: -item[1])
        if count
    ]
    label = Words("Share of empty cells by column; tips have the counts", "各列空单元格比例；提示中有计数")
    return responsive(lambda width: empty_chart(bars, total, label, width), WIDE)
