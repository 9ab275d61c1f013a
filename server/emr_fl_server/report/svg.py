"""Drawing of charts as inline SVG: shapes, scales, text that fits. Everything that goes in is escaped.

Text stands in both languages; the page's style shows one of them. Colours are classes: `s-NAME` sets `--c`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from emr_fl_server.report.figures import Figure

Attribute = str | float | int
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Words:
    """The same in English and Chinese."""

    en: str
    zh: str

    def __add__(self, other: Words | str) -> Words:
        more = other if isinstance(other, Words) else Words(other, other)
        return Words(self.en + more.en, self.zh + more.zh)

    def __html__(self) -> str:
        if self.en == self.zh:
            return Markup("<bdi>{}</bdi>").format(self.en)
        return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-CN">{}</span>').format(
            self.en, self.zh
        )


def percent(value: float) -> str:
    """A fraction as an axis shows it."""
    return f"{100 * value:g}"


def same(text: str) -> Words:
    """Text that is the same in both languages: a name, a number."""
    return Words(text, text)


@dataclass
class Drawing:
    """One SVG picture of `width` × `height` CSS pixels under construction."""

    width: float
    height: float
    label: Words
    kind: str = ""
    parts: list[Markup] = field(default_factory=list)

    def element(self, name: str, content: str | Markup = "", /, **attributes: Attribute) -> None:
        """Add an element; `class_` is `class`, other underscores become hyphens, text content is escaped."""
        self.parts.append(_element(name, content, attributes))

    def line(self, x1: float, y1: float, x2: float, y2: float, /, **attributes: Attribute) -> None:
        self.element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)

    def rect(self, x: float, y: float, width: float, height: float, /, **attributes: Attribute) -> None:
        self.element("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), **attributes)

    def text(self, x: float, y: float, words: Words | str, /, **attributes: Attribute) -> None:
        """Text at a base line, once for each language where they differ."""
        both = same(words) if isinstance(words, str) else words
        if both.en == both.zh:
            self.element("text", both.en, x=x, y=y, **attributes)
            return
        classes = str(attributes.pop("class_", ""))
        for language, code, content in (("en", "en", both.en), ("zh", "zh-CN", both.zh)):
            self.element(
                "text", content, x=x, y=y, lang=code, class_=f"{classes} {language}".strip(), **attributes
            )

    def figure(
        self,
        x: float,
        y: float,
        figure: Figure,
        /,
        before: Words | str = "",
        after: Words | str = "",
        **attributes: Attribute,
    ) -> None:
        """A number from the results as text, with words before and after it."""
        if figure:
            sources: dict[str, Attribute] = dict(figure.attributes)
            self.text(x, y, same("") + before + figure.text + after, **sources, **attributes)

    def marker(self, shape: str, x: float, y: float, radius: float, /, **attributes: Attribute) -> None:
        """A mark for one value: `circle`, `square`, `diamond`, `triangle` or `ring`, of about equal area."""
        if shape in ("circle", "ring"):
            self.element("circle", cx=x, cy=y, r=radius, **attributes)
        else:
            self.element("path", d=marker_path(shape, x, y, radius), **attributes)

    def polyline(self, points: Sequence[tuple[float, float]], /, **attributes: Attribute) -> None:
        if len(points) > 1:
            path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
            self.element("path", d=path, fill="none", **attributes)

    def grid_down(
        self,
        x: Scale,
        values: Iterable[float],
        top: float,
        bottom: float,
        *,
        below: float = 18.0,
        words: Callable[[float], str] = percent,
    ) -> None:
        """A line of the grid from `top` to `bottom` at each value of the scale `x`, with the value `below` it."""
        for value in values:
            self.line(x(value), top, x(value), bottom, class_="grid")
            self.text(x(value), bottom + below, words(value), class_="tick middle")

    def grid_across(
        self,
        y: Scale,
        values: Iterable[float],
        left: float,
        right: float,
        *,
        gap: float = 8.0,
        words: Callable[[float], str] = percent,
    ) -> None:
        """A line of the grid from `left` to `right` at each value of the scale `y`, with the value `gap` before it."""
        for value in values:
            self.line(left, y(value), right, y(value), class_="grid")
            self.text(left - gap, y(value) + 4, words(value), class_="tick end")

    def __html__(self) -> str:
        template = Markup(
            '<svg class="{}" role="img" viewBox="0 0 {} {}" width="{}" height="{}" aria-label="{}"'
            ' data-label-en="{}" data-label-zh="{}">{}</svg>'
        )
        size = (number(self.width), number(self.height))
        return template.format(
            self.kind, *size, *size, self.label.en, self.label.en, self.label.zh, Markup("").join(self.parts)
        )


def tip(words: Words, figures: Sequence[Figure] = ()) -> dict[str, Attribute]:
    """Attributes of a mark that shows `words` when pointed at; `figures` are the numbers in them."""
    known = [figure for figure in figures if figure]
    found: dict[str, Attribute] = {"data-tip-en": words.en, "data-tip-zh": words.zh}
    if known:
        found["data-tip-figure"] = "\n\n".join("\n".join(figure.places) for figure in known)
        found["data-tip-format"] = "\n".join(f"{figure.form} {figure.of}".strip() for figure in known)
    return found


def marker_path(shape: str, x: float, y: float, radius: float) -> str:
    """The outline of a square, diamond or triangle."""
    if shape == "square":
        a = radius * 0.89
        corners = [(x - a, y - a), (x + a, y - a), (x + a, y + a), (x - a, y + a)]
    elif shape == "diamond":
        a = radius * 1.25
        corners = [(x, y - a), (x + a, y), (x, y + a), (x - a, y)]
    else:
        a = radius * 1.25
        corners = [(x, y - a), (x + a * 0.95, y + a * 0.72), (x - a * 0.95, y + a * 0.72)]
    return "M" + "L".join(f"{number(cx)} {number(cy)}" for cx, cy in corners) + "Z"


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high] to [start, end]."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high], both > 0, to [start, end] on a log axis."""
    inner = linear(math.log10(low), math.log10(high), start, end)
    return lambda value: inner(math.log10(max(value, low / 10)))


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """About `about` round values that cover [low, high] from within."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def nice_domain(
    values: Sequence[float], about: int = 5, floor: float = 0.0, ceiling: float = 1.0
) -> tuple[float, float]:
    """A domain that ends on round values and holds all `values` with a little air."""
    low, high = min(values), max(values)
    air = max((high - low) * 0.06, 0.01)
    low, high = max(floor, low - air), min(ceiling, high + air)
    ticks = nice_ticks(low, high, about)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 0.05
    return (
        max(floor, math.floor(low / step + 1e-9) * step),
        min(ceiling, math.ceil(high / step - 1e-9) * step),
    )


def log_ticks(low: float, high: float) -> list[int]:
    """1, 2, 5, 10, 20 … inside [low, high]; only powers of ten when there are more than eight."""
    found = [
        base * 10**power for power in range(0, 10) for base in (1, 2, 5) if low <= base * 10**power <= high
    ]
    return found if len(found) <= 8 else [value for value in found if str(value).strip("0") == "1"]


def text_width(text: str, size: float) -> float:
    """About how wide `text` is at a font size, in CSS pixels."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WF" else 0.56 for char in text)


def fitted(text: str, width: float, size: float) -> str:
    """The text, cut with … where it is wider than `width`."""
    if text_width(text, size) <= width:
        return text
    kept = text
    while kept and text_width(kept + "…", size) > width:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def fitted_words(words: Words, width: float, size: float) -> Words:
    """Both texts cut to `width`."""
    return Words(fitted(words.en, width, size), fitted(words.zh, width, size))


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near `places` that are at least `gap` apart and inside [low, high] as far as there is room."""
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    moved = [places[index] for index in order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    if moved and moved[-1] > high:
        moved[-1] = high
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - gap)
    if moved and moved[0] < low:
        moved[0] = low
        for index in range(1, len(moved)):
            moved[index] = max(moved[index], moved[index - 1] + gap)
    result = [0.0] * len(places)
    for position, index in zip(moved, order, strict=True):
        result[index] = position
    return result


def _element(name: str, content: str | Markup, attributes: dict[str, Attribute]) -> Markup:
    written = Markup("")
    for key, value in attributes.items():
        text = value if isinstance(value, str) else number(value)
        written += Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), text)
    if content:
        return Markup("<{}{}>{}</{}>").format(name, written, content, name)
    return Markup("<{}{}/>").format(name, written)
