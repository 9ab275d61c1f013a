"""Scores of groups of patients, each with its interval, dimension by dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import SMALL, is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import Drawing, Words, fitted_words, linear, nice_domain, nice_ticks, tip


@dataclass(frozen=True)
class GroupScore:
    """A group with its macro-F1, the ends of the interval, and how many records it has."""

    name: Words
    n: Figure
    score: Figure
    low: Figure
    high: Figure


def groups_chart(
    dimensions: Sequence[tuple[Words, Sequence[GroupScore]]], label: Words, width: float
) -> Drawing:
    """A row for each group under the name of its dimension; there is at least one."""
    names = 168.0 if is_wide(width) else 104.0
    row, head = 24.0, 34.0
    height = sum(head + row * len(groups) for _, groups in dimensions) + 52
    drawing = Drawing(width, height, label, "chart groups")
    values = [
        figure.value
        for _, groups in dimensions
        for group in groups
        for figure in (group.score, group.low, group.high)
        if figure.value is not None
    ]
    low, high = nice_domain(values or [0.0, 1.0], 5)
    left, right, bottom = names, width - 62.0, height - 46
    x = linear(low, high, left, right)
    drawing.grid_down(x, nice_ticks(low, high, 6 if is_wide(width) else 4), 12, bottom, below=17.0)
    drawing.text(right, height - 6, Words("macro-F1, %", "macro-F1（%）"), class_="label end")
    drawing.text(width - 4, 14, "n", class_="label end")
    at = 0.0
    for name, groups in dimensions:
        at += head
        drawing.text(2, at - 10, name, class_="label strong")
        for group in groups:
            middle = at + row / 2 - 4
            drawing.text(10, middle + 4, fitted_words(group.name, names - 20, SMALL + 1), class_="row-name")
            if group.low.value is not None and group.high.value is not None:
                drawing.line(
                    x(group.low.value), middle, x(group.high.value), middle, class_="whisker s-standard"
                )
            if group.score.value is not None:
                words = group.name + f" · {group.score.text}% · n = {group.n.text}"
                drawing.marker(
                    "circle",
                    x(group.score.value),
                    middle,
                    5.0,
                    class_="mark m-circle s-standard",
                    **tip(words, [group.score, group.n]),
                )
            drawing.figure(width - 4, middle + 4, group.n, class_="tiny end")
            at += row
    return drawing
