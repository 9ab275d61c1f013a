"""How often the most probable label is right, against how sure the model was of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import Attribute, Drawing, Words, linear, tip


@dataclass(frozen=True)
class Bin:
    """One bin of confidence, (low, high]; empty bins have no confidence and no accuracy."""

    low: float
    high: float
    n: Figure
    confidence: Figure
    accuracy: Figure


def reliability_chart(bins: Sequence[Bin], label: Words, width: float) -> Drawing:
    """The curve over the counts of its bins."""
    wide = is_wide(width)
    height = 470.0 if wide else 400.0
    left, right, top, bottom = 38.0, width - 14.0, 30.0, height - 140.0
    floor = height - 46.0
    drawing = Drawing(width, height, label, "chart reliability")
    x, y = linear(0, 1, left, right), linear(0, 1, bottom, top)
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        drawing.line(left, y(value), right, y(value), class_="grid")
        drawing.text(left - 8, y(value) + 4, f"{100 * value:.0f}", class_="tick end")
        drawing.text(x(value), floor + 19, f"{100 * value:.0f}", class_="tick middle")
    drawing.text(4, 14, Words("how often right, %", "实际正确率（%）"), class_="label")
    drawing.text(right, height - 6, Words("confidence, %", "模型置信度（%）"), class_="label end")
    filled = [item for item in bins if item.confidence.value is not None and item.accuracy.value is not None]
    for item in filled:
        start, end, right_share, sure = (
            x(item.low) + 1.5,
            x(item.high) - 1.5,
            item.accuracy.amount,
            item.confidence.amount,
        )
        drawing.rect(start, y(right_share), end - start, bottom - y(right_share), class_="bin")
        over, under = max(right_share, sure), min(right_share, sure)
        gap: dict[str, Attribute] = {
            "x": start,
            "y": y(over),
            "width": end - start,
            "height": y(under) - y(over),
        }
        if sure > right_share:
            drawing.element("rect", class_="gap over", fill="url(#too-sure)", **gap)
        else:
            drawing.element("rect", class_="gap", **gap)
    drawing.line(x(0), y(0), x(1), y(1), class_="diagonal")
    drawing.polyline(
        [(x(item.confidence.amount), y(item.accuracy.amount)) for item in filled],
        class_="line s-standard",
    )
    most = max((item.n.value or 0 for item in bins), default=0) or 1
    tall = linear(0, float(most), 0, floor - bottom - 34)
    for item in bins:
        if item.n.value:
            bar = tall(float(item.n.value))
            drawing.rect(x(item.low) + 1.5, floor - bar, x(item.high) - x(item.low) - 3, bar, class_="count")
            drawing.figure((x(item.low) + x(item.high)) / 2, floor - bar - 4, item.n, class_="tiny middle")
    for item in filled:
        words = (
            Words("Confidence ", "置信度 ")
            + f"{item.confidence.text}%"
            + Words(" · right ", " · 正确率 ")
            + f"{item.accuracy.text}% · n = {item.n.text}"
        )
        drawing.marker(
            "circle",
            x(item.confidence.amount),
            y(item.accuracy.amount),
            5.0,
            class_="mark m-circle s-standard",
            **tip(words, [item.confidence, item.accuracy, item.n]),
        )
    drawing.line(left, bottom, right, bottom, class_="axis")
    drawing.line(left, floor, right, floor, class_="axis")
    drawing.text(left + 2, bottom + 16, Words("records", "记录数"), class_="label")
    return drawing
