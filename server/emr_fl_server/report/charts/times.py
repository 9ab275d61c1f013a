"""How the time was spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import Drawing, Words, text_width, tip


@dataclass(frozen=True)
class Part:
    """A part of the run: key (its colour class), name, seconds."""

    key: str
    name: Words
    seconds: Figure


def times_chart(parts: Sequence[Part], label: Words, width: float) -> Drawing:
    """One bar, a piece for each part, its seconds in it where there is room."""
    wide = is_wide(width)
    thick = 46.0 if wide else 38.0
    drawing = Drawing(width, thick + 8, label, "chart times")
    total = sum(part.seconds.amount for part in parts) or 1.0
    start = 0.0
    for part in parts:
        long = part.seconds.amount / total * width
        words = part.name + f" · {part.seconds.text}"
        drawing.rect(
            start,
            4,
            max(long - 1.5, 0.8),
            thick,
            class_=f"piece s-{part.key}",
            rx=3,
            **tip(words, [part.seconds]),
        )
        if text_width(part.seconds.text, 13) + 16 < long:
            drawing.figure(start + 10, 4 + thick / 2 + 5, part.seconds, class_="piece-text")
        start += long
    return drawing
