"""What a data-protection officer reads: counts, the site's own recall, the risk of what is left, the settings. Never a value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.deidentify.gate import SiteRecall
from emr_fl_shared.deidentify.operators import kind_name
from emr_fl_shared.deidentify.risk import Risk
from emr_fl_shared.deidentify.roster import Roster
from emr_fl_shared.errors import UsageError
from emr_fl_shared.messages import language, tr
from emr_fl_shared.sources import SourceReport, describe_reason

_SUFFIXES = (".json", ".html")


def check_suffix(path: Path) -> None:
    """Raises `UsageError` unless the report is to be .json or .html."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            tr("a report is JSON or a page", "报告应为 JSON 或网页"),
            where="--report",
            got=path.suffix or tr("no ending", "无后缀"),
            expected=" | ".join(_SUFFIXES),
        )


def build_report(
    *,
    settings: SiteSettings,
    cleaner: Deidentifier,
    site_key: bool,
    source: SourceReport,
    characters: int,
    recall: SiteRecall | None,
    problems: Sequence[str],
    risks: Mapping[str, Risk],
    emptied: Mapping[str, int],
    doubts: int | None,
) -> dict[str, Any]:
    """The report as plain values. `recall` is `None` where the policy is off; `characters` were read."""
    audit = json.loads(cleaner.audit.to_json())
    removed = sum(audit["by_kind"].values())
    rosters = [part for part in cleaner.recognisers if isinstance(part, Roster)]
    own = settings.deidentification
    policy = settings.policy
    return {
        **audit,
        "characters": characters,
        "removed_per_1000": round(1000 * removed / max(1, characters), 4),
        "source": {
            "rows": source.rows,
            "kept": source.kept,
            "skipped": dict(sorted(source.skipped.items())),
            "repaired": dict(sorted(source.repaired.items())),
        },
        "gate": {
            "state": "off" if recall is None else "refused" if problems else "passed",
            "problems": list(problems),
            "measured": recall.to_json() if recall is not None else None,
        },
        "risk": {name: risk.to_json() for name, risk in risks.items()},
        "emptied": dict(emptied),
        "doubts": doubts,
        "settings": {
            "operators": own.operators.model_dump(),
            "key": "site" if site_key else "random",
            "roster_names": sum(len(part.names) for part in rosters),
            "ner": own.ner is not None,
            "presidio": own.presidio is not None,
            "recognisers": [part.name for part in cleaner.recognisers],
            "policy": {
                "deidentification_recall": policy.deidentification_recall,
                "deidentification_names": policy.deidentification_names,
                "smallest_k": policy.smallest_k,
            },
        },
    }


def report_bytes(report: Mapping[str, Any], path: Path) -> bytes:
    """The report as the file's ending says: JSON, or a page in the language in force that is complete in itself."""
    if path.suffix.lower() == ".json":
        return json.dumps(report, ensure_ascii=False, indent=2).encode() + b"\n"
    environment = Environment(
        loader=PackageLoader("emr_fl_client.deidentified", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        report=report, tr=tr, language=language(), kind_name=kind_name, describe_reason=describe_reason
    )
    return page.encode()
