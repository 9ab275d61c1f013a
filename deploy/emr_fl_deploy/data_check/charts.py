"""The charts of the page: labels by frequency, empty fields by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import is_wide
from emr_fl_server.report.svg import Drawing, Words, fitted, linear, nice_ticks, same, tip


@dataclass(frozen=True)
class Bar:
    """One bar: what it stands for, how many, and the colour's name in the palette."""

    name: Words
    count: int
    colour: str


def labels_chart(bars: Sequence[Bar], label: Words, width: float) -> Drawing:
    """Columns in the order given, one a label; `bars` is not empty. Names stand in the tips and in the table below."""
    height = 250.0 if is_wide(width) else 200.0
    left, right, top, bottom = 48.0, width - 8.0, 26.0, height - 26.0
    drawing = Drawing(width, height, label, "chart")
    most = max(1, *(bar.count for bar in bars))
    y = linear(0, most, bottom, top)
    drawing.grid_across(y, nice_ticks(0, most, 4), left, right, words="{:,.0f}".format)
    step = (right - left) / len(bars)
    for number, bar in enumerate(bars):
        drawing.rect(
            left + number * step + step * 0.1,
            y(bar.count),
            step * 0.8,
            bottom - y(bar.count),
            class_=f"piece s-{bar.colour}",
            rx=1.5,
            **tip(bar.name + same(f" · {bar.count:,}")),
        )
    drawing.line(left, bottom, right, bottom, class_="axis")
    drawing.text(4, 14, Words("records", "记录数"), class_="label")
    drawing.text(
        right, height - 6, Words("labels, the most frequent first", "标签，由多到少"), class_="label end"
    )
    return drawing


def empty_chart(bars: Sequence[Bar], total: int, label: Words, width: float) -> Drawing:
    """A row a column of the export, with the share of its cells that are empty; `bars` is not empty, `total` > 0."""
    row = 24.0
    left, right, top = (190.0 if is_wide(width) else 130.0), width - 62.0, 6.0
    drawing = Drawing(width, top + row * len(bars) + 6, label, "chart")
    x = linear(0, total, left, right)
    for number, bar in enumerate(bars):
        middle = top + row * (number + 0.5)
        share = f"{100 * bar.count / total:.1f}%"
        drawing.text(left - 10, middle + 4, same(fitted(bar.name.en, left - 16, 13)), class_="row-name end")
        drawing.line(left, middle, right, middle, class_="grid")
        drawing.rect(
            left,
            middle - 6,
            x(bar.count) - left,
            12,
            class_=f"piece s-{bar.colour}",
            rx=2,
            **tip(bar.name + same(f" · {bar.count:,} / {total:,}")),
        )
        drawing.text(right + 8, middle + 4, share, class_="value start")
    return drawing
