"""`errors.html`: the most confident errors on the server's own texts. Apart from the report, which holds no text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from emr_fl_server.evaluation.errors import ConfidentError
from emr_fl_server.report.figures import percent
from emr_fl_server.report.page import page_dress, page_environment
from emr_fl_server.report.reading import printable
from emr_fl_server.report.svg import Words, same
from emr_fl_shared.durable import write_durably
from emr_fl_shared.labels import Taxonomy
from emr_fl_shared.messages import language

ERRORS = "errors.html"


def write_errors(run: Path, name: str, errors: Sequence[ConfidentError], taxonomy: Taxonomy) -> Path:
    """Write `RUN/errors.html`; returns its path. Raises StorageError."""
    environment = page_environment()
    page = environment.get_template("errors.html.jinja").render(
        opens_in=language(),
        **page_dress(environment),
        name=name,
        kinds=[
            (title, [_shown(error, taxonomy) for error in errors if error.kind == kind])
            for kind, title in (
                ("given", Words("Labels given and not true", "给出但不正确的标签")),
                ("missed", Words("True labels not given", "未给出的正确标签")),
            )
        ],
    )
    path = run / ERRORS
    write_durably(path, [page.encode()])
    return path


def _shown(error: ConfidentError, taxonomy: Taxonomy) -> dict[str, Any]:
    names = [Words(label.en or label.zh, label.zh) for label in taxonomy.labels]
    return {
        "label": names[error.label],
        "probability": percent(error.probability),
        "labels": [names[label] for label in error.true] or [same("–")],
        "text": marked(error),
    }


def marked(error: ConfidentError) -> Markup:
    """The text with each word as strongly marked as it counts, for or against; everything is escaped."""
    strongest = max((abs(word.weight) for word in error.words), default=0.0) or 1.0
    parts, position = [Markup("")], 0
    for word in error.words:
        parts.append(Markup("{}").format(printable(error.text[position : word.start])))
        parts.append(
            Markup('<span class="{}" style="--w:{}" title="{}">{}</span>').format(
                "for" if word.weight >= 0 else "against",
                f"{abs(word.weight) / strongest:.2f}",
                f"{word.weight:+.2f}",
                printable(error.text[word.start : word.end]),
            )
        )
        position = word.end
    parts.append(Markup("{}").format(printable(error.text[position:])))
    return Markup("").join(parts)
