"""`emr-fl data deidentify`."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

from emr_fl_client.deidentified import Request, deidentify_file
from emr_fl_client.join.place import site_key
from emr_fl_client.own_policy import with_own_policy
from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import tr


def deidentify(
    source: Path | None,
    out: Path,
    *,
    config: Path | None,
    report: Path | None,
    audit_list: Path | None,
    sentences: int,
    roster: Path | None,
    as_json: bool,
) -> None:
    """Write the copy and print what was removed. With a site's settings its own key is used, so that patients stay linked;
    without `source` its own source is read."""
    if config is None and source is None:
        raise UsageError(
            tr("no export to clean", "没有要清洗的导出文件"),
            where="emr-fl data deidentify",
            do=tr(
                "name an export, or give SITE.toml with --config",
                "请指定导出文件，或用 --config 给出 SITE.toml",
            ),
        )
    settings = (
        with_own_policy(load_site_settings(config))
        if config is not None
        else SiteSettings(source=str(source))
    )
    if roster is not None:
        settings = settings.model_copy(update={"roster": str(roster)})
    request = Request(
        source=source if source is not None else settings.records_source(),
        out=out,
        settings=settings,
        key=secrets.token_bytes(32),
        report=report,
        audit_list=audit_list,
        sentences=sentences,
    )
    request.check()
    if config is not None:
        request = _with_site_key(request, config.absolute().parent / "state")
    result = deidentify_file(
        request,
        lambda done, of: print(
            tr(f"{done} of {of} records cleaned", f"已清洗 {done}/{of} 条记录"), file=sys.stderr
        ),
    )
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    for line in summary(result):
        print(line)
    for path in (out, report, audit_list):
        if path is not None:
            print(path)


def _with_site_key(request: Request, state: Path) -> Request:
    from dataclasses import replace

    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return replace(request, key=site_key(state), site_key=True)


def summary(result: dict[str, Any]) -> list[str]:
    """A few lines for a terminal: counts, recall, risk."""
    kinds = ", ".join(
        f"{kind} {count}" for kind, count in sorted(result["by_kind"].items(), key=lambda item: -item[1])
    )
    lines = [
        tr(
            f"{result['records']} records, {result['changed']} with removals: {kinds or 0}",
            f"{result['records']} 条记录，{result['changed']} 条有去除内容：{kinds or 0}",
        )
    ]
    measured = result["gate"]["measured"]
    if measured is None:
        lines.append(tr("own recall: not measured, the policy is off", "本机构识别率：策略已关闭，未测量"))
    else:
        low, high = measured["all"]["interval"]
        lines.append(
            tr("own recall: ", "本机构识别率：")
            + f"{measured['all']['recall']:.3f} ({low:.3f}–{high:.3f}, n = {measured['planted']}), "
            + tr("names ", "姓名 ")
            + f"{measured['names']['recall']:.3f}"
        )
    before, after = result["risk"]["before"], result["risk"]["written"]
    lines.append(f"k {before['k']} → {after['k']}, l {before['l']} → {after['l']}")
    if after["below"] > 0:
        lines.append(
            tr(
                f"warning: {after['below']} records are in groups smaller than {after['limit']}",
                f"警告：{after['below']} 条记录所在组小于 {after['limit']}",
            )
        )
    return lines
