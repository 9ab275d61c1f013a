"""The masthead's ornament: as many sites around the coordinator as the run had."""

from __future__ import annotations

import math

from markupsafe import Markup

from emr_fl_server.report.svg import number

MOST = 12


def motif(sites: int) -> Markup:
    """A picture without information of its own: hidden from screen readers."""
    shown = max(1, min(sites, MOST))
    lines, circles = Markup(""), Markup("")
    for index in range(shown):
        angle = 2 * math.pi * (index + 0.35) / shown - math.pi / 2
        reach = 86 if index % 2 else 72
        x, y = 130 + 1.2 * reach * math.cos(angle), 100 + reach * math.sin(angle)
        lines += Markup('<path d="M130 100L{} {}"/>').format(number(x), number(y))
        circles += Markup('<circle cx="{}" cy="{}" r="{}"/>').format(
            number(x), number(y), 10 - 3 * index / shown
        )
    return Markup(
        '<svg class="motif" viewBox="0 0 260 200" width="260" height="200" aria-hidden="true">'
        '<g fill="none" stroke="currentColor" stroke-width="1.4">{}'
        '<circle cx="130" cy="100" r="34" stroke-dasharray="2 6"/></g>'
        '<g fill="currentColor"><circle cx="130" cy="100" r="15"/>{}</g></svg>'
    ).format(lines, circles)
