"""Each label's F1 against its frequency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import GROUPS, is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import (
    Drawing,
    Scale,
    Words,
    fitted,
    linear,
    log_ticks,
    logarithmic,
    nice_domain,
    nice_ticks,
    text_width,
    tip,
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Dot:
    """A label that occurs in the standard set."""

    name: Words
    group: str
    support: Figure
    f1: Figure

    @property
    def n(self) -> float:
        return max(1.0, float(self.support.value or 1))

    @property
    def score(self) -> float:
        return self.f1.amount


def labels_chart(dots: Sequence[Dot], means: Mapping[str, Figure], label: Words, width: float) -> Drawing:
    """`dots` is not empty; `means`: the mean F1 of each group."""
    wide = is_wide(width)
    height = 470.0 if wide else 350.0
    left, right, top, bottom = 38.0, width - 14.0, 30.0, height - 46.0
    drawing = Drawing(width, height, label, "chart labels")
    low, high = min(dot.n for dot in dots), max(dot.n for dot in dots)
    low, high = (low / 1.25, high * 1.25) if high > low else (low / 3, high * 3)
    least, most = nice_domain([dot.score for dot in dots], 8)
    x, y = logarithmic(low, high, left, right), linear(least, most, bottom, top)
    drawing.grid_across(y, nice_ticks(least, most, 8), left, right)
    for support in log_ticks(low, high):
        drawing.line(x(support), bottom, x(support), bottom + 4, class_="axis")
        drawing.text(x(support), bottom + 19, f"{support:,}", class_="tick middle")
    drawing.line(left, bottom, right, bottom, class_="axis")
    drawing.text(4, 14, Words("F1, %", "F1（%）"), class_="label")
    drawing.text(
        right,
        height - 6,
        Words("records with the label, log axis", "含该标签的记录数（对数轴）"),
        class_="label end",
    )
    taken: list[Box] = []
    for group, mean in means.items():
        members = [dot for dot in dots if dot.group == group]
        if len(members) < 2 or mean.value is None:
            continue
        start, end = x(min(dot.n for dot in members)) - 12, x(max(dot.n for dot in members)) + 12
        start, end = max(left, start), min(right, end)
        drawing.line(start, y(mean.value), end, y(mean.value), class_=f"mean s-{group}")
        taken.append((start, y(mean.value) - 2, end, y(mean.value) + 2))
    radius = 5.0 if len(dots) <= 80 else 3.4
    if not wide:
        radius *= 0.85
    for dot in sorted(dots, key=lambda dot: -dot.n):
        mark = GROUPS[dot.group].mark if dot.group in GROUPS else "circle"
        words = dot.name + Words(" · F1 ", " · F1 ") + f"{dot.f1.text}% · n = {dot.support.text}"
        drawing.marker(
            mark,
            x(dot.n),
            y(dot.score),
            radius,
            class_=f"mark m-{mark} s-{dot.group}",
            **tip(words, [dot.f1, dot.support]),
        )
    taken += [_around(x(dot.n), y(dot.score), radius + 1.5) for dot in dots]
    inside = (left, top - 8, right, bottom)
    for language in ("en", "zh"):
        _name_dots(drawing, dots, language, x, y, taken, inside, radius, 16 if wide else 6)
    return drawing


def _name_dots(
    drawing: Drawing,
    dots: Sequence[Dot],
    language: str,
    x: Scale,
    y: Scale,
    taken: Sequence[Box],
    inside: Box,
    radius: float,
    most: int,
) -> None:
    """Write names beside the dots that stand out most, where there is room."""
    boxes = list(taken)
    written = 0
    for dot in _by_interest(dots):
        if written == most:
            return
        text = fitted(getattr(dot.name, language), 170.0, 11.5)
        wide = text_width(text, 11.5)
        for dx, dy, anchor in (
            (radius + 4, 4, "start"),
            (-radius - 4, 4, "end"),
            (0, -radius - 5, "middle"),
            (0, radius + 13, "middle"),
        ):
            at, base = x(dot.n) + dx, y(dot.score) + dy
            start = at - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (start - 2, base - 11, start + wide + 2, base + 3)
            if _within(box, inside) and not any(_overlap(box, other) for other in boxes):
                drawing.element(
                    "text",
                    text,
                    x=at,
                    y=base,
                    lang="en" if language == "en" else "zh-CN",
                    class_=f"dot-name {anchor} {language}",
                )
                boxes.append(box)
                written += 1
                break


def _by_interest(dots: Sequence[Dot]) -> Iterator[Dot]:
    """The worst, the most frequent, the best of the tail, then alternately the next worst and the next best."""
    by_score = sorted(dots, key=lambda dot: (dot.score, dot.n))
    by_support = sorted(dots, key=lambda dot: -dot.n)
    tail = [dot for dot in reversed(by_score) if dot.group == "tail"]
    order = [*by_score[:4], *by_support[:3], *tail[:2]]
    half = (len(by_score) + 1) // 2
    for low, high in zip(by_score[:half], reversed(by_score), strict=False):
        order += [low, high]
    seen: set[int] = set()
    for dot in order:
        if id(dot) not in seen:
            seen.add(id(dot))
            yield dot


def _around(x: float, y: float, radius: float) -> Box:
    return (x - radius, y - radius, x + radius, y + radius)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _within(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]
