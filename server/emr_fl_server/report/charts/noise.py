"""macro-F1 over the strength of noise: a small panel for each kind, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import Drawing, Scale, Words, fitted_words, linear, nice_domain, nice_ticks, tip


@dataclass(frozen=True)
class NoisePoint:
    """Scores at one strength; `low` and `high` are the ends of the interval."""

    strength: Figure
    score: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True)
class NoiseKind:
    """One kind of noise, its points in rising strength."""

    name: Words
    points: tuple[NoisePoint, ...]


def noise_chart(kinds: Sequence[NoiseKind], clean: Figure, label: Words, width: float) -> Drawing:
    """`kinds` is not empty and each has a point; `clean` is the score of the same texts without noise."""
    columns = 3 if is_wide(width) else 2
    rows = -(-len(kinds) // columns)
    panel, tall = width / columns, 150.0
    drawing = Drawing(width, rows * tall + 34, label, "chart noise")
    known = [
        figure.value
        for kind in kinds
        for point in kind.points
        for figure in (point.score, point.low, point.high)
        if figure.value is not None
    ]
    low, high = nice_domain([*known, clean.amount], 4)
    strongest = max(point.strength.amount for kind in kinds for point in kind.points)
    for index, kind in enumerate(kinds):
        left, top = panel * (index % columns) + 30, tall * (index // columns) + 30
        right, bottom = panel * (index % columns + 1) - 12, top + tall - 56
        x, y = linear(0.0, strongest, left, right), linear(low, high, bottom, top)
        drawing.grid_across(y, nice_ticks(low, high, 4), left, right, gap=6.0)
        for strength in (0.0, *(point.strength.amount for point in kind.points)):
            drawing.text(x(strength), bottom + 16, f"{100 * strength:g}", class_="tick middle")
        drawing.line(left, bottom, right, bottom, class_="axis")
        drawing.text(left, top - 12, fitted_words(kind.name, right - left, 12.0), class_="label strong")
        _panel(drawing, kind, clean, x, y)
    foot = Words("macro-F1, % · below: characters touched, %", "macro-F1（%） · 横轴：改动字符（%）")
    drawing.text(width - 4, rows * tall + 26, foot, class_="label end")
    return drawing


def _panel(drawing: Drawing, kind: NoiseKind, clean: Figure, x: Scale, y: Scale) -> None:
    known = [point for point in kind.points if point.score.value is not None]
    for point in known:
        if point.low.value is not None and point.high.value is not None:
            at = x(point.strength.amount)
            drawing.line(at, y(point.low.amount), at, y(point.high.amount), class_="whisker s-noisy")
    places = [(x(point.strength.amount), y(point.score.amount)) for point in known]
    if clean.value is not None:
        places.insert(0, (x(0.0), y(clean.value)))
        drawing.line(x(0.0), y(clean.value), places[-1][0], y(clean.value), class_="diagonal")
    drawing.polyline(places, class_="line s-noisy")
    if clean.value is not None:
        words = Words("Without noise · ", "无噪声 · ") + f"{clean.text}%"
        drawing.marker("circle", *places[0], 3.6, class_="mark m-circle s-standard", **tip(words, [clean]))
    for point in known:
        words = (
            kind.name + f" · {point.strength.text}%" + Words(" noise · ", " 噪声 · ") + f"{point.score.text}%"
        )
        drawing.marker(
            "square",
            x(point.strength.amount),
            y(point.score.amount),
            3.8,
            class_="mark m-square s-noisy",
            **tip(words, [point.score]),
        )
