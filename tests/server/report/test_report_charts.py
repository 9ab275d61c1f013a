"""The drawings: places by hand, nothing outside the picture, names that fit."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from emr_fl_server.report.charts import NARROW, WIDE
from emr_fl_server.report.charts.motif import motif
from emr_fl_server.report.charts.rounds import round_ticks
from emr_fl_server.report.page import render
from emr_fl_server.report.reading import printable
from emr_fl_server.report.svg import (
    Drawing,
    Words,
    fitted,
    linear,
    log_ticks,
    logarithmic,
    marker_path,
    nice_domain,
    nice_ticks,
    spread,
    text_width,
)

Results = dict[str, Any]
Parse = Callable[[str], Any]


def test_scales_by_hand() -> None:
    down = linear(0.0, 0.8, 400.0, 0.0)
    assert [down(0.0), down(0.2), down(0.8)] == [400.0, 300.0, 0.0]
    log = logarithmic(1, 1000, 0.0, 300.0)
    assert [log(1), log(10), log(1000)] == pytest.approx([0.0, 100.0, 300.0])


@pytest.mark.parametrize(
    "low, high, about, ticks",
    [
        (0.0, 1.0, 5, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.31, 0.68, 4, [0.4, 0.5, 0.6]),
        (0.5, 0.5, 4, [0.5]),
        (0.0, 0.05, 5, [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_nice_ticks(low: float, high: float, about: int, ticks: list[float]) -> None:
    assert nice_ticks(low, high, about) == pytest.approx(ticks)


def test_log_ticks() -> None:
    assert log_ticks(3, 120) == [5, 10, 20, 50, 100]
    assert log_ticks(1, 20_000) == [1, 10, 100, 1000, 10_000]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(2, 10))
def test_a_domain_holds_its_values(values: list[float], about: int) -> None:
    low, high = nice_domain(values, about)
    assert 0.0 <= low <= min(values) + 1e-9 and max(values) - 1e-9 <= high <= 1.0
    assert low < high


@given(st.lists(st.floats(0, 400), max_size=12))
def test_labels_keep_their_distance_and_order(places: list[float]) -> None:
    moved = spread(places, 16, 0, 400)
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    ranked = [moved[index] for index in order]
    assert all(after - before >= 16 - 1e-6 for before, after in itertools.pairwise(ranked))
    assert all(-1e-6 <= place <= 400 + 1e-6 for place in moved)


def test_spread_moves_nothing_that_has_room() -> None:
    assert spread([10.0, 100.0, 50.0], 16, 0, 400) == [10.0, 100.0, 50.0]


@given(st.text(max_size=60), st.floats(20, 300))
def test_fitted_text_fits(text: str, width: float) -> None:
    cut = fitted(text, width, 12)
    assert text_width(cut, 12) <= max(width, text_width("…", 12))
    assert cut == text or cut.endswith("…")


def test_chinese_is_wider() -> None:
    assert text_width("高血压", 10) == 30.0
    assert fitted("高血压与糖尿病", 40.0, 10) == "高血压…"


@pytest.mark.parametrize(
    "first, last, most, ticks",
    [
        (1, 4, 8, [1, 2, 3, 4]),
        (1, 16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
        (1, 60, 16, [1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]),
    ],
)
def test_round_ticks(first: int, last: int, most: int, ticks: list[int]) -> None:
    assert round_ticks(first, last, most) == ticks


def test_markers_are_centred() -> None:
    assert marker_path("square", 10, 20, 10) == "M1.1 11.1L18.9 11.1L18.9 28.9L1.1 28.9Z"
    assert marker_path("diamond", 0, 0, 4) == "M0 -5L5 0L0 5L-5 0Z"


def test_drawings_escape() -> None:
    drawing = Drawing(10, 10, Words('"<b>', "x"))
    drawing.text(1, 2, '<script>"&', class_='"><i>')
    drawn = Markup(drawing)
    assert "<script" not in drawn and "<i>" not in drawn and "<b>" not in drawn
    assert "&lt;script&gt;&#34;&amp;" in drawn


def marks(root: Any, chart: str, width: float) -> list[Any]:
    """The marks with a tip in one size of a chart."""
    (drawing,) = [
        node for node in root.walk() if chart in node.classes and node.attributes.get("width") == f"{width:g}"
    ]
    return [node for node in drawing.walk() if "data-tip-en" in node.attributes]


def place(node: Any) -> tuple[float, float]:
    if node.tag == "circle":
        return float(node.attributes["cx"]), float(node.attributes["cy"])
    pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", node.attributes["d"])
    return sum(float(x) for x, _ in pairs) / len(pairs), sum(float(y) for _, y in pairs) / len(pairs)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_rounds_are_drawn_where_they_belong(results: Results, parsed: Parse, width: float) -> None:
    root = parsed(render(results, {}, opens_in="en"))
    found = [
        node
        for node in marks(root, "rounds", width)
        if node.attributes["data-tip-en"].split(" · ")[1] == "Standard"
    ]
    assert len(found) == len(results["history"])
    scores = [row["sets"]["standard"]["macro_f1"] for row in results["history"]]
    xs, ys = zip(*(place(node) for node in found), strict=True)
    steps = [after - before for before, after in itertools.pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=0.03)
    # One straight line through (score, height): the scale is linear and the same for all.
    slope = (ys[-1] - ys[0]) / (scores[-1] - scores[0])
    assert slope < 0
    assert [ys[0] + slope * (score - scores[0]) for score in scores] == pytest.approx(list(ys), abs=0.05)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_labels_are_drawn_where_they_belong(results: Results, parsed: Parse, width: float) -> None:
    root = parsed(render(results, {}, opens_in="en"))
    found = {
        node.attributes["data-tip-zh"].split(" · ")[0]: place(node) for node in marks(root, "labels", width)
    }
    assert len(found) == len(results["per_label"])
    first, second, fourth = (found[f"第{number}类"] for number in (1, 2, 4))
    # 400, 200 and 100 records: equal steps on a log axis.
    assert first[0] - second[0] == pytest.approx(second[0] - fourth[0], abs=0.05)
    by_score = sorted(results["per_label"], key=lambda row: row["f1"])
    heights = [found[row["zh"]][1] for row in by_score]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("labels, rounds, sites", [(2, 2, 1), (50, 16, 4), (300, 80, 40)])
def test_nothing_lies_outside(
    results_of: Callable[..., Results], parsed: Parse, labels: int, rounds: int, sites: int
) -> None:
    results = results_of(labels=labels, rounds=rounds, sites=sites)
    long = "an-academy-of-very-long-names-" * 3
    results["sites"] = {name + long: site for name, site in results["sites"].items()}
    for drawing in parsed(render(results, {}, opens_in="en")).walk():
        if "chart" not in drawing.classes:
            continue
        width, height = float(drawing.attributes["width"]), float(drawing.attributes["height"])
        for node in drawing.walk()[1:]:
            at = node.attributes
            for name in ("x", "cx", "x1", "x2"):
                assert -0.01 <= float(at.get(name, 0)) <= width + 0.01, (drawing.classes, node.tag, at)
            for name in ("y", "cy", "y1", "y2"):
                assert -0.01 <= float(at.get(name, 0)) <= height + 0.01, (drawing.classes, node.tag, at)
            if node.tag == "rect":
                assert float(at["x"]) + float(at["width"]) <= width + 1
                assert float(at["y"]) + float(at["height"]) <= height + 1
            if node.tag == "text":
                wide = text_width(node.text, 12)
                start = float(at["x"]) - (
                    wide if "end" in node.classes else wide / 2 if "middle" in node.classes else 0
                )
                assert start >= -6 and start + wide <= width + 12, (drawing.classes, node.text)


def test_names_in_the_label_chart_do_not_cover_each_other(
    results_of: Callable[..., Results], parsed: Parse
) -> None:
    root = parsed(render(results_of(labels=50), {}, opens_in="en"))
    for drawing in root.walk():
        if not {"chart", "labels"} <= drawing.classes:
            continue
        for language in ("en", "zh"):
            boxes = []
            for node in drawing.walk():
                if {"dot-name", language} <= node.classes:
                    wide, x, y = (
                        text_width(node.text, 11.5),
                        float(node.attributes["x"]),
                        float(node.attributes["y"]),
                    )
                    start = x - (
                        wide if "end" in node.classes else wide / 2 if "middle" in node.classes else 0
                    )
                    boxes.append((start, y - 10, start + wide, y + 2))
            assert boxes
            for index, a in enumerate(boxes):
                assert not any(
                    a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[index + 1 :]
                )


def test_the_time_bar_adds_up(results: Results, parsed: Parse) -> None:
    pieces = marks(parsed(render(results, {}, opens_in="en")), "times", WIDE)
    cost = results["cost"]
    parts = [cost["train_wall_s"], cost["aggregate_s"], cost["evaluate_s"]]
    parts.append(cost["wall_s"] - sum(parts))
    widths = [float(piece.attributes["width"]) for piece in pieces]
    assert len(widths) == 4
    expected = [max(part / cost["wall_s"] * WIDE - 1.5, 0.8) for part in parts]
    assert widths == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("sites", [1, 4, 300])
def test_ornament(sites: int) -> None:
    assert motif(sites).count("<path") == min(sites, 12)


def test_printable() -> None:
    assert printable("咳嗽\u202e\ud800\x00a\n") == "咳嗽���a\n"
