"""`emr-fl data check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from emr_fl_shared.quality import QualityReport
    from emr_fl_shared.sources import AnySource


def register(data: typer.Typer) -> None:
    """Add `check` to the `data` commands."""

    @data.command(
        help=tr(
            "What is in an export and what is wrong with it: counts only, never a value.\n\n"
            "Exit code 1 if something must be mended before training.",
            "检查导出文件的内容与问题：只给出计数，不显示任何取值。\n\n若存在训练前必须修复的问题，退出码为 1。",
        )
    )
    def check(
        files: Annotated[
            list[Path] | None, typer.Argument(metavar="FILE…", help=tr("exports", "导出文件"))
        ] = None,
        config: Annotated[
            Path | None, typer.Option(help=tr("SITE.toml or federation.toml", "SITE.toml 或 federation.toml"))
        ] = None,
        column: Annotated[
            list[str] | None,
            typer.Option(help=tr("field=header, where not understood", "字段=表头，用于无法识别的表头")),
        ] = None,
        taxonomy: Annotated[
            str | None, typer.Option(help=tr("labels to check against", "用于核对的标签体系"))
        ] = None,
        json: Annotated[bool, typer.Option("--json", help=tr("print JSON", "输出 JSON"))] = False,
        page: Annotated[Path | None, typer.Option(help=tr("write a page (HTML)", "写出网页 (HTML)"))] = None,
        quarantine: Annotated[
            Path | None,
            typer.Option(
                help=tr("folder for the rows that were left out", "存放被排除行的目录（仅供本院查看）")
            ),
        ] = None,
        unmapped: Annotated[
            Path | None,
            typer.Option(
                help=tr(
                    "file (CSV) for the values that gave no label, with counts",
                    "写出未映射到标签的值及其计数（CSV，仅供本院查看）",
                )
            ),
        ] = None,
    ) -> int:
        return data_check(
            files or [],
            config=config,
            columns=column or [],
            taxonomy=taxonomy,
            as_json=json,
            page=page,
            quarantine=quarantine,
            unmapped=unmapped,
        )


def data_check(
    files: Sequence[Path],
    *,
    config: Path | None = None,
    columns: Sequence[str] = (),
    taxonomy: str | None = None,
    as_json: bool = False,
    page: Path | None = None,
    quarantine: Path | None = None,
    unmapped: Path | None = None,
) -> int:
    """Check the files, print and write what was asked for; returns the exit code."""
    import json

    from emr_fl_deploy.data_check.quarantine import Quarantine
    from emr_fl_deploy.data_check.sources import wanted
    from emr_fl_deploy.data_check.unmapped import UnmappedValues
    from emr_fl_shared.quality import check_files

    asked = wanted(files, config, columns, taxonomy)
    locations = [source.location for source in asked.sources]
    if page is not None:
        _check_page(page)
    kept = Quarantine(quarantine, locations) if quarantine is not None else None
    terms = UnmappedValues(unmapped) if unmapped is not None else None
    report = check_files(
        asked.sources,
        taxonomy=asked.taxonomy,
        rejected=kept.add if kept else None,
        unmapped=terms.add if terms is not None else None,
        progress=_progress if sys.stderr.isatty() else None,
    )
    written = kept.write() if kept else {}
    if terms is not None:
        terms.write()
    if as_json:
        told = report.to_json()
        for file, shown in zip(report.files, told["files"], strict=True):
            target, rows = written.get(file.location, (None, 0))
            shown["quarantine"] = {"file": str(target) if target else None, "rows": rows}
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        _print(report)
        for target, rows in written.values():
            print(tr(f"{rows:,} rows in {target}", f"{rows:,} 行已写入 {target}"))
        if terms is not None:
            print(tr(f"{len(terms):,} values in {unmapped}", f"{len(terms):,} 个值已写入 {unmapped}"))
    if page is not None:
        from emr_fl_deploy.data_check.page import write_page

        write_page(report, page)
        if not as_json:
            print(page)
    return 1 if report.level == "stop" else 0


def _check_page(page: Path) -> None:
    from emr_fl_shared.errors import UsageError

    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise UsageError(
            tr("the page needs a name that ends in .html", "网页文件名须以 .html 结尾"),
            where="--page",
            got=str(page),
        )


def _progress(source: AnySource) -> None:
    print(tr(f"reading and checking {source}", f"正在读取并检查 {source}"), file=sys.stderr)


def _print(report: QualityReport) -> None:
    """What was seen, in the order of the checks; those that found nothing share one line."""
    from emr_fl_deploy.findings import WIDTH, finding_lines
    from emr_fl_shared.quality import Finding, Wording

    parts = [(str(file.location), file.findings) for file in report.files]
    if report.across:
        parts.append((tr("across the files", "各文件之间"), report.across))
    for number, (title, findings) in enumerate(parts):
        if number:
            print()
        print(title)
        for finding in findings:
            if not finding.silent:
                for line in finding_lines(finding, WIDTH):
                    print(line)
        silent = [finding.subject for finding in findings if finding.silent]
        if silent:
            nothing = Finding(
                "nothing",
                Wording("nothing found", "未发现"),
                "ok",
                0,
                Wording(
                    ", ".join(subject.en for subject in silent), "、".join(subject.zh for subject in silent)
                ),
            )
            for line in finding_lines(nothing, WIDTH):
                print(line)
        levels = [finding.level for finding in findings]
        stops, warnings = levels.count("stop"), levels.count("warning")
        print(
            tr(
                f"{warnings} {'warning' if warnings == 1 else 'warnings'}, {stops} to mend before training",
                f"{warnings} 项警告，{stops} 项须在训练前修复",
            )
        )
