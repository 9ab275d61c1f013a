"""`report.html`: one page, complete in itself, that fetches nothing.

The page forbids itself every connection (Content-Security-Policy) and every script but its own, which is allowed by its
digest; all of it can be read without scripts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from emr_fl_server.report import breakdown, operations, robustness, sections
from emr_fl_server.report.figures import Figures
from emr_fl_server.report.palette import DARK, LIGHT, declarations
from emr_fl_server.report.reading import Results, read_results, read_settings
from emr_fl_shared.durable import write_durably
from emr_fl_shared.messages import language

REPORT = "report.html"


def write_report(run: Path) -> Path:
    """Write `RUN/report.html` from `RUN/results.json` and, if there, `RUN/settings.toml`; returns its path.

    The page opens in the language in force and holds both. Raises DataError (no results, not readable) and
    StorageError (disk full, no permission); the old page is then as it was.
    """
    page = render(read_results(run), read_settings(run), opens_in=language())
    path = run / REPORT
    write_durably(path, [page.encode()])
    return path


def render(results: Mapping[str, Any], settings: Mapping[str, Any], *, opens_in: str) -> str:
    """The page as text. `opens_in`: the language shown first, `zh` or `en`."""
    environment = page_environment()
    known = Results(results)
    figures = Figures(known)
    return environment.get_template("page.html.jinja").render(
        opens_in=opens_in,
        **page_dress(environment),
        head=sections.head(known, figures),
        scores=sections.scores(known, figures),
        comparison=sections.comparison(known, figures),
        rounds=sections.rounds(known, figures),
        labels=breakdown.labels(known, figures),
        calibration=breakdown.calibration(known, figures),
        sites=operations.sites(known, figures),
        attack=breakdown.attack(known, figures),
        noise=robustness.noise(known, figures),
        fairness=robustness.fairness(known, figures),
        exchange=operations.exchange(known, figures),
        times=operations.times(known, figures),
        privacy=operations.privacy(known, figures),
        leaves=[words for _, words in operations.LEAVES],
        settings=operations.settings_table(settings),
    )


def page_environment(*packages: str) -> Environment:
    """Templates of this report and, before them, those in `templates/` of other packages; everything is escaped."""
    return Environment(
        loader=ChoiceLoader(
            [PackageLoader(name, "templates") for name in (*packages, "emr_fl_server.report")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def page_dress(environment: Environment) -> dict[str, Markup | str]:
    """What every page carries in its head: `style`, `script`, and `script_digest` for its Content-Security-Policy."""
    script = _source(environment, "page.js")
    style = _source(environment, "page.css")
    style = style.replace("LIGHT_COLOURS", declarations(LIGHT)).replace("DARK_COLOURS", declarations(DARK))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"style": Markup(style), "script": Markup(script), "script_digest": digest}


def _source(environment: Environment, name: str) -> str:
    """A template file as it stands."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
