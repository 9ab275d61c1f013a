"""All files of an experiment's results, each whole or as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emr_fl_deploy.experiments.page import render
from emr_fl_deploy.experiments.tables import latex, long_csv, markdown
from emr_fl_server.federation import as_json
from emr_fl_shared.durable import write_durably
from emr_fl_shared.messages import language

PAGE = "index.html"


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """`results.json` and what is made from it. Raises `StorageError`."""
    for name, text in (
        ("results.json", as_json(results)),
        ("results.csv", long_csv(results)),
        ("results.md", markdown(results)),
        ("results.tex", latex(results)),
        (PAGE, render(results, opens_in=language())),
    ):
        write_durably(out / name, [text.encode()])
