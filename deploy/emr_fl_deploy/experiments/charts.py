"""The chart of the page: a row a configuration, with every seed, the mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import SMALL, is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import Drawing, Words, fitted_words, linear, nice_domain, nice_ticks, tip
from emr_fl_server.report.svg import percent as as_percent


@dataclass(frozen=True)
class Row:
    """One configuration in one column."""

    name: Words
    seeds: tuple[Figure, ...]
    mean: Figure
    low: Figure
    high: Figure
    reference: bool


def intervals_chart(
    rows: Sequence[Row], heading: Words, label: Words, width: float, *, percent: bool
) -> Drawing:
    """`rows` have a mean each, and there is at least one; `percent`: values are fractions."""
    wide = is_wide(width)
    left = 236.0 if wide else 16.0
    row = 34.0 if wide else 52.0
    top, right = 10.0, width - 66.0
    bottom = top + row * len(rows)
    drawing = Drawing(width, bottom + 44, label, "chart intervals")
    values = [
        figure.amount for item in rows for figure in (*item.seeds, item.mean, item.low, item.high) if figure
    ]
    low, high = nice_domain(values, 6 if wide else 4, ceiling=1.0 if percent else float("inf"))
    x = linear(low, high, left + 16, right)
    words = as_percent if percent else "{:g}".format
    drawing.grid_down(x, nice_ticks(low, high, 6 if wide else 4), top, bottom, words=words)
    for index, item in enumerate(rows):
        middle = top + row * index + (row / 2 if wide else row - 16)
        if item.reference:
            drawing.rect(0, top + row * index + 2, width, row - 4, class_="ours", rx=6)
        name = fitted_words(item.name, left - 20 if wide else width - 28, SMALL + 1)
        drawing.text(10, middle + 5 if wide else middle - 16, name, class_="row-name")
        if item.low and item.high:
            drawing.line(
                x(max(low, item.low.amount)),
                middle,
                x(min(high, item.high.amount)),
                middle,
                class_="bond s-standard",
            )
        for figure in item.seeds:
            drawing.marker("ring", x(figure.amount), middle, 3.2, class_="mark m-ring s-validation")
        shown = item.name + f" · {item.mean.text}"
        drawing.marker(
            "circle",
            x(item.mean.amount),
            middle,
            5.4,
            class_="mark m-circle s-standard",
            **tip(shown, [item.mean]),
        )
        drawing.figure(width - 8, middle + 4.5, item.mean, class_="value end")
    drawing.text(right, bottom + 40, heading, class_="label end")
    return drawing
