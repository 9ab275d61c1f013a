"""macro-F1 of the held-out sets over rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import SERIES, SMALL, Series, is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import (
    Drawing,
    Scale,
    Words,
    fitted_words,
    linear,
    nice_domain,
    nice_ticks,
    spread,
    tip,
)


@dataclass(frozen=True)
class Line:
    """One set's scores by round; `plain`: of the federation without augmentation and adversarial training."""

    series: Series
    points: tuple[tuple[int, Figure], ...]
    plain: bool = False

    @property
    def name(self) -> Words:
        return (
            self.series.name + Words(", plain federation", "（普通联邦）") if self.plain else self.series.name
        )

    @property
    def short(self) -> Words:
        """The name beside the line's end."""
        name = SERIES["adversarial"].name if self.series.key == "adversarial_transfer" else self.series.name
        return name + Words(", plain", "（普通）") if self.plain else name


def rounds_chart(lines: Sequence[Line], best: int | None, label: Words, width: float) -> Drawing:
    """`lines` hold at least one point; `best` is marked."""
    wide = is_wide(width)
    height = 450.0 if wide else 320.0
    left, right, top, bottom = 38.0, width - (124.0 if wide else 12.0), 34.0, height - 44.0
    drawing = Drawing(width, height, label, "chart rounds")
    every = [
        (number, figure.value) for line in lines for number, figure in line.points if figure.value is not None
    ]
    low, high = nice_domain([value for _, value in every], 8)
    first, last = min(number for number, _ in every), max(number for number, _ in every)
    x: Scale = linear(first, last, left + 10, right - 24) if last > first else (lambda _: (left + right) / 2)
    y = linear(low, high, bottom, top)
    drawing.grid_across(y, nice_ticks(low, high, 8 if wide else 5), left, right)
    for number in round_ticks(first, last, 16 if wide else 8):
        drawing.text(x(number), bottom + 20, str(number), class_="tick middle")
    drawing.line(left, bottom, right, bottom, class_="axis")
    drawing.text((left + right) / 2, height - 6, Words("round", "轮次"), class_="label middle")
    drawing.text(4, 14, Words("macro-F1, %", "macro-F1（%）"), class_="label")
    if best is not None and first <= best <= last:
        at = x(best)
        drawing.rect(at - 9, top, 18, bottom - top, class_="best", rx=3)
        room = text_side(at, left, right)
        drawing.text(
            at if room == "middle" else at + (9 if room == "start" else -9),
            top - 8,
            Words("best on validation", "验证集最佳"),
            class_=f"label strong {room}",
        )
    for line in sorted(lines, key=lambda line: not line.plain):
        _draw(drawing, line, x, y, best)
    if wide:
        ends = [(line, line.points[-1]) for line in lines if line.points]
        heights = spread([y(figure.amount) for _, (_, figure) in ends], 16, top, bottom)
        for (line, (number, figure)), place in zip(ends, heights, strict=True):
            at = y(figure.amount)
            drawing.line(x(number) + 8, at, right + 4, place, class_=f"leader s-{line.series.key}")
            drawing.text(
                right + 8,
                place + 4,
                fitted_words(line.short, width - right - 8, SMALL),
                class_=f"name s-{line.series.key}",
            )
    return drawing


def _draw(drawing: Drawing, line: Line, x: Scale, y: Scale, best: int | None) -> None:
    key, mark = line.series.key, line.series.mark
    places = [(x(number), y(figure.amount)) for number, figure in line.points]
    drawing.polyline(places, class_=f"line s-{key}{' plain' if line.plain else ''}")
    bare = line.plain or len(places) > 24
    for (number, figure), (at, height) in zip(line.points, places, strict=True):
        words = Words(f"Round {number} · ", f"第 {number} 轮 · ") + line.name + f" · {figure.text}%"
        marked = not line.plain and number == best
        look = "hit" if bare and not marked else f"mark m-{mark} s-{key}"
        radius = 5.6 if marked else 3.2
        drawing.marker(
            "circle" if look == "hit" else mark, at, height, radius, class_=look, **tip(words, [figure])
        )


def text_side(at: float, left: float, right: float) -> str:
    """How to anchor a text of about 130 pixels at `at` so that it stays inside."""
    if at - left < 65:
        return "start" if at - left < 20 else "middle"
    return "end" if right - at < 65 else "middle"


def round_ticks(first: int, last: int, most: int) -> list[int]:
    """At most `most` whole numbers from `first` to `last`, evenly spaced, both ends included where that fits."""
    step = max(1, math.ceil((last - first + 1) / most))
    if step > 2:
        step = next(nice for nice in (5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000) if nice >= step)
        found = [first, *range((first // step + 1) * step, last + 1, step)]
        return found if len(found) < 2 or found[1] - found[0] > step / 3 else [found[0], *found[2:]]
    return list(range(first, last + 1, step))
