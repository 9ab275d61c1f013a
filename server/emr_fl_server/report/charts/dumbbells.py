"""Two scores on a line: a method on the standard and the noisy set, a site before and after."""

from __future__ import annotations

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
    same,
    tip,
)


@dataclass(frozen=True)
class Method:
    """A way of training, with its macro-F1 on the standard and the noisy set."""

    name: Words
    standard: Figure
    noisy: Figure
    ours: bool = False


@dataclass(frozen=True)
class SiteGain:
    """A site: macro-F1 of its own model and of the global one, by set."""

    name: str
    before: dict[str, Figure]
    after: dict[str, Figure]
    gain: dict[str, Figure]


def methods_chart(methods: Sequence[Method], label: Words, width: float) -> Drawing:
    """A row for each method, standard and noisy on one axis."""
    wide = is_wide(width)
    left = 214.0 if wide else 14.0
    row = 46.0 if wide else 58.0
    top, right = 10.0, width - (44.0 if wide else 30.0)
    bottom = top + row * len(methods)
    height = bottom + 44
    drawing = Drawing(width, height, label, "chart methods")
    values = [
        figure.value for item in methods for figure in (item.standard, item.noisy) if figure.value is not None
    ]
    low, high = nice_domain(values, 6 if wide else 4)
    x = linear(low, high, left + 30, right - 10)
    drawing.grid_down(x, nice_ticks(low, high, 6 if wide else 4), top, bottom)
    drawing.text(right, height - 4, Words("macro-F1, %", "macro-F1（%）"), class_="label end")
    for index, item in enumerate(methods):
        middle = top + row * index + (row / 2 if wide else row - 18)
        if item.ours:
            drawing.rect(0, top + row * index + 2, width, row - 4, class_="ours", rx=6)
        name = fitted_words(item.name, (left - 20) if wide else width - 28, SMALL + 1)
        drawing.text(
            10,
            middle + 5 if wide else middle - 20,
            name,
            class_="row-name strong" if item.ours else "row-name",
        )
        pair = [("noisy", item.noisy), ("standard", item.standard)]
        known = [(SERIES[key], figure) for key, figure in pair if figure.value is not None]
        _dumbbell(drawing, x, middle, item.name, known)
    return drawing


def sites_chart(sites: Sequence[SiteGain], sets: Sequence[str], label: Words, width: float) -> Drawing:
    """A panel for each set; in it, a row for each site from its own model (ring) to the global one."""
    wide = is_wide(width)
    names = 168.0 if wide else 0.0
    row = (38.0 if wide else 46.0) - (10.0 if len(sites) > 12 else 0.0)
    head, foot = 46.0, 34.0
    panel_height = head + row * len(sites) + foot
    columns = len(sets) if wide else 1
    panel = (width - names) / columns
    height = panel_height * (1 if wide else len(sets)) + 16
    drawing = Drawing(width, height, label, "chart sites")
    values = [
        figure.value
        for site in sites
        for key in sets
        for figure in (site.before[key], site.after[key])
        if figure.value is not None
    ]
    low, high = nice_domain(values, 4)
    for index, key in enumerate(sets):
        left = names + (panel * index if wide else 0.0)
        top = head + (0.0 if wide else panel_height * index)
        bottom = top + row * len(sites)
        x = linear(low, high, left + 40, left + panel - 50)
        drawing.grid_down(x, nice_ticks(low, high, 4), top, bottom)
        _panel_head(drawing, SERIES[key], left + (40 if wide else 8), top, x, sites[0].after[key])
        for line, site in enumerate(sites):
            middle = top + row * line + (row / 2 if wide else row - 11)
            if index == 0 or not wide:
                name = fitted_words(same(site.name), (names - 14) if wide else width - 20, SMALL + 1)
                drawing.text(2 if wide else 8, middle + (4 if wide else -12), name, class_="row-name")
            _site_row(drawing, x, middle, site, key)
    drawing.text(width - 4, height - 4, Words("macro-F1, %", "macro-F1（%）"), class_="label end")
    return drawing


def _panel_head(drawing: Drawing, series: Series, left: float, top: float, x: Scale, after: Figure) -> None:
    drawing.marker(series.mark, left + 4, top - 32, 4.6, class_=f"mark m-{series.mark} s-{series.key}")
    drawing.text(left + 16, top - 28, series.name + Words(" set", "集"), class_="label strong")
    if after.value is not None:
        drawing.figure(x(after.value), top - 8, after, before=Words("global ", "全局 "), class_="name middle")


def _site_row(drawing: Drawing, x: Scale, middle: float, site: SiteGain, key: str) -> None:
    before, after, gain = site.before[key], site.after[key], site.gain[key]
    series = SERIES[key]
    if before.value is not None and after.value is not None:
        drawing.line(x(before.value), middle, x(after.value), middle, class_=f"bond s-{key}")
    words = same(site.name + " · ") + series.name
    if before.value is not None:
        drawing.marker(
            "ring",
            x(before.value),
            middle,
            5.0,
            class_="mark m-ring s-validation",
            **tip(words + Words(" · own TF-IDF ", " · 自有 TF-IDF ") + f"{before.text}%", [before]),
        )
        ahead = after.value is None or before.value <= after.value
        drawing.figure(
            x(before.value) + (-9 if ahead else 9),
            middle + 4,
            before,
            class_=f"tiny {'end' if ahead else 'start'}",
        )
    if after.value is not None:
        drawing.marker(
            series.mark,
            x(after.value),
            middle,
            5.4,
            class_=f"mark m-{series.mark} s-{key}",
            **tip(words + Words(" · global model ", " · 全局模型 ") + f"{after.text}%", [after]),
        )
        ahead = before.value is None or before.value <= after.value
        if gain.value is not None:
            drawing.figure(
                x(after.value) + (9 if ahead else -9),
                middle + 4,
                gain,
                class_=f"gain {'start' if ahead else 'end'}",
            )


def _dumbbell(
    drawing: Drawing, x: Scale, middle: float, name: Words, known: Sequence[tuple[Series, Figure]]
) -> None:
    places = sorted(figure.amount for _, figure in known)
    if len(places) == 2:
        drawing.line(x(places[0]), middle, x(places[1]), middle, class_="bond")
    for series, figure in known:
        value = figure.amount
        words = name + " · " + series.name + f" · {figure.text}%"
        drawing.marker(
            series.mark,
            x(value),
            middle,
            6.2,
            class_=f"mark m-{series.mark} s-{series.key}",
            **tip(words, [figure]),
        )
        lower = value == places[0] and (len(places) == 1 or places[0] != places[1] or series.key == "noisy")
        drawing.figure(
            x(value) + (-11 if lower else 11),
            middle + 4.5,
            figure,
            class_=f"value {'end' if lower else 'start'}",
        )
