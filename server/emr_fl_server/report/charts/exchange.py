"""What went over the wire: the coordinator, the sites, and what each arrow carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emr_fl_server.report.charts import SMALL, is_wide
from emr_fl_server.report.figures import Figure
from emr_fl_server.report.svg import Drawing, Words, fitted, same

SHOWN = 6


@dataclass(frozen=True)
class SiteBox:
    """A site and how many records of it stay where they are."""

    name: str
    records: Figure


@dataclass(frozen=True)
class Traffic:
    """Bytes in a round, all sites together."""

    down: Figure
    up: Figure


def exchange_chart(
    sites: Sequence[SiteBox], total: Figure, traffic: Traffic, label: Words, width: float
) -> Drawing:
    """At most `SHOWN` of the sites are drawn; `total` is how many there are."""
    wide = is_wide(width)
    shown = sites[:SHOWN]
    more = len(sites) > SHOWN
    rows = len(shown) + more
    row = 58.0
    if wide:
        height = max(rows * row + 8, 220.0)
        hub = (0.0, height / 2 - 46, 168.0, 92.0)
        boxes = (width - 250.0, (height - rows * row) / 2, 250.0)
    else:
        height = 92 + 136 + rows * row + 8
        hub = ((width - 200) / 2, 4.0, 200.0, 76.0)
        boxes = (30.0, 224.0, width - 60)
    drawing = Drawing(width, height, label, "chart exchange")
    x, y, w, h = hub
    for index in range(rows):
        target = boxes[1] + index * row + row / 2 - 4
        if wide:
            start, end = x + w + 120, boxes[0]
            path = (
                f"M{x + w} {y + h / 2}H{start}C{start + 130} {y + h / 2} {end - 90} {target} {end} {target}"
            )
        else:
            path = f"M{width / 2} {y + h}V{boxes[1] - 10}H14V{target}H{boxes[0]}"
        drawing.element("path", d=path, fill="none", class_="wire")
    drawing.rect(x, y, w, h, class_="hub", rx=10)
    drawing.text(x + w / 2, y + h / 2 - 4, Words("Coordinator", "协调方"), class_="hub-name middle")
    drawing.text(
        x + w / 2, y + h / 2 + 17, Words("averages the updates", "汇总各方更新"), class_="hub-note middle"
    )
    _loads(drawing, traffic, (x + w + 122, y + h / 2) if wide else (width / 2, y + h + 66))
    for index, site in enumerate(shown):
        top = boxes[1] + index * row
        drawing.rect(boxes[0], top, boxes[2], row - 10, class_="site-box", rx=8)
        drawing.text(
            boxes[0] + 14, top + 20, fitted(site.name, boxes[2] - 28, SMALL + 1), class_="row-name strong"
        )
        stay = Words(" records stay here", " 条记录留在院内")
        drawing.figure(boxes[0] + 14, top + 38, site.records, after=stay, class_="stay")
    if more:
        top = boxes[1] + len(shown) * row
        drawing.rect(boxes[0], top, boxes[2], row - 10, class_="site-box more", rx=8)
        in_all = Words(" sites in all", " 家机构（合计）")
        drawing.figure(boxes[0] + 14, top + 29, total, after=in_all, class_="row-name")
    return drawing


def _loads(drawing: Drawing, traffic: Traffic, middle: tuple[float, float]) -> None:
    """The two arrows' loads on a plate over the wires."""
    x, y = middle
    drawing.rect(x - 92, y - 52, 184, 104, class_="plate", rx=10)
    drawing.line(x - 76, y, x + 76, y, class_="grid")
    for figure, offset, words, arrow in (
        (traffic.down, -26, Words("model down", "下发模型"), "↓"),
        (traffic.up, 25, Words("updates up", "上传更新"), "↑"),
    ):
        drawing.text(x - 76, y + offset + 7, same(arrow), class_="arrow")
        drawing.figure(x - 50, y + offset - 1, figure, class_="load")
        drawing.text(x - 50, y + offset + 16, words + Words(", a round", "（每轮）"), class_="label")
