"""The charts of the report: one module each, values in, a drawing out.

Every chart is drawn twice, for a desktop and for a phone, so that its text keeps its size; the page's style shows one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from emr_fl_server.report.svg import Drawing, Words

WIDE = 720.0
NARROW = 344.0
SMALL = 12.0
"""Font size of a chart's text, CSS pixels; the style sheet says the same."""


@dataclass(frozen=True)
class Series:
    """A held-out set with its name, colour class and mark."""

    key: str
    name: Words
    mark: str

    @property
    def swatch(self) -> Markup:
        """A small picture of the mark for legends."""
        drawing = Drawing(14, 14, Words("", ""))
        drawing.marker(self.mark, 7, 7, 4.6, class_=f"mark m-{self.mark} s-{self.key}")
        return Markup(
            '<svg class="swatch" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">{}</svg>'
        ).format(Markup("").join(drawing.parts))


SERIES = {
    series.key: series
    for series in (
        Series("standard", Words("Standard", "标准"), "circle"),
        Series("noisy", Words("Noisy", "含噪"), "square"),
        Series("cross_site", Words("Cross-site", "跨机构"), "triangle"),
        Series("adversarial", Words("Adversarial", "对抗"), "diamond"),
        Series("adversarial_transfer", Words("Adversarial, transferred", "对抗（迁移）"), "diamond"),
        Series("validation", Words("Validation", "验证"), "ring"),
    )
}

GROUPS = {
    "head": Series("head", Words("Head", "头部"), "circle"),
    "middle": Series("middle", Words("Middle", "中部"), "square"),
    "tail": Series("tail", Words("Tail", "尾部"), "triangle"),
}


def responsive(draw: Callable[[float], Drawing], wide: float = WIDE) -> Markup:
    """Both sizes of a chart."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(wide), draw(NARROW))


def is_wide(width: float) -> bool:
    """Whether a drawing of this width is for a desktop."""
    return width > 480
