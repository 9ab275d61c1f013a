"""`index.html`: the tables to look at, complete in itself and fetching nothing, dressed as the report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from markupsafe import Markup

from emr_fl_deploy.experiments.charts import Row, intervals_chart
from emr_fl_deploy.experiments.measures import heading, measure
from emr_fl_server.report.charts import responsive
from emr_fl_server.report.figures import Figure, Figures
from emr_fl_server.report.page import page_dress, page_environment
from emr_fl_server.report.reading import Results
from emr_fl_server.report.svg import Words

_STATES = {
    "finished": Words("finished", "完成"),
    "failed": Words("failed", "失败"),
    "waiting": Words("to do", "未完成"),
    "not_run": Words("not run", "未运行"),
}
WIDE = 1088.0
CHARTS = 2
"""Columns that are drawn: the first ones."""


def render(results: Mapping[str, Any], *, opens_in: str) -> str:
    """The page as text. `opens_in`: the language shown first, `zh` or `en`."""
    environment = page_environment("emr_fl_deploy.experiments")
    figures = Figures(Results(results))
    columns, rows = results["columns"], results["configurations"]
    in_paper = list(dict.fromkeys(column for row in rows for column in row["paper"]))
    return environment.get_template("experiment.html.jinja").render(
        opens_in=opens_in,
        **page_dress(environment),
        results=results,
        title=_words(results["title"]),
        question=_words(results["question"]),
        runs=figures.of("count", "runs", "finished"),
        all_runs=figures.of("count", "runs", "all"),
        sites=figures.of("count", "data", "sites"),
        records=figures.of("count", "data", "training_records"),
        sizes=[(name, figures.of("count", "data", "n", name)) for name in results["data"]["n"]],
        heads=[heading(column) for column in columns],
        charts=[chart for column in columns[:CHARTS] if (chart := _chart(results, figures, column))],
        rows=[_row(index, row, columns, figures, results["reference"]) for index, row in enumerate(rows)],
        reference=next(_words(row["name"]) for row in rows if row["id"] == results["reference"]),
        against=[
            (
                _words(row["name"]),
                [_against(index, column, figures, results["comparison"]) for column in columns],
            )
            for index, row in enumerate(rows)
            if row["against_reference"]
        ],
        ratio=results["comparison"] == "ratio",
        level=round(100 * results["level"]),
        paper_heads=[heading(column) for column in in_paper],
        paper=[
            (_words(row["name"]), [_spread(figures, column, index, "paper") for column in in_paper])
            for index, row in enumerate(rows)
            if row["paper"]
        ],
        cells=[
            {
                "configuration": row["id"],
                "site": run["site"],
                "seed": figures.of("general", *place, "seed"),
                "state": _STATES[run["state"]],
                "failed": run["state"] == "failed",
                "reason": run["reason"],
                "rounds": figures.of("count", *place, "rounds"),
                "best": figures.of("count", *place, "best_round"),
                "parameters": figures.of("count", *place, "parameters"),
                "seconds": figures.of("seconds", *place, "figures", "cost.wall_s"),
                "report": f"{run['folder']}/report.html"
                if run["state"] == "finished" and run["rounds"] is not None
                else None,
            }
            for index, row in enumerate(rows)
            for number, run in enumerate(row["runs"])
            for place in [("configurations", index, "runs", number)]
        ],
    )


def _words(both: Mapping[str, str] | None) -> Words:
    return Words(both["en"], both["zh"]) if both else Words("", "")


def _row(
    index: int, row: Mapping[str, Any], columns: list[str], figures: Figures, reference: str
) -> dict[str, Any]:
    return {
        "name": _words(row["name"]),
        "note": _words(row["note"]) if row["note"] else None,
        "state": None if row["state"] == "finished" else _STATES[row["state"]],
        "reason": _words(row["reason"]) if row["reason"] else None,
        "reference": row["id"] == reference,
        "scores": [_spread(figures, column, index, "figures") for column in columns],
        "seeds": figures.of("count", "configurations", index, "figures", columns[0], "n"),
    }


def _spread(figures: Figures, column: str, index: int, place: str) -> tuple[Figure, Figure]:
    """Mean and standard deviation."""
    form = measure(column).form
    at = ("configurations", index, place, column)
    return figures.of(form, *at, "mean"), figures.of(form, *at, "sd")


def _against(index: int, column: str, figures: Figures, comparison: str) -> tuple[Figure, Figure, Figure]:
    """Mean and both ends of the interval."""
    form = "points" if measure(column).form == "percent" else measure(column).form
    if comparison == "ratio":
        form = "decimal"
    at = ("configurations", index, "against_reference", column)
    return figures.of(form, *at, "mean"), figures.of(form, *at, "low"), figures.of(form, *at, "high")


def _chart(results: Mapping[str, Any], figures: Figures, column: str) -> Markup | None:
    form = measure(column).form
    drawn = []
    for index, row in enumerate(results["configurations"]):
        at = ("configurations", index)
        mean = figures.of(form, *at, "figures", column, "mean")
        if not mean:
            continue
        drawn.append(
            Row(
                _words(row["name"]),
                tuple(figures.of(form, *at, "by_seed", seed, column) for seed in row["by_seed"]),
                mean,
                figures.of(form, *at, "figures", column, "low"),
                figures.of(form, *at, "figures", column, "high"),
                row["id"] == results["reference"],
            )
        )
    if not drawn:
        return None
    label = heading(column) + Words(
        ": every seed, mean and interval of each configuration; the table below has the numbers",
        "：各配置的每个种子、均值与区间；数值见下表",
    )
    draw = partial(intervals_chart, drawn, heading(column), label, percent=form == "percent")
    return responsive(draw, WIDE)
