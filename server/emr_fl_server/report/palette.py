"""Colours, for light and dark.

The series, the groups and the parts of the time stay apart under protanopia, deuteranopia and tritanopia (CIE76 distance
of 20 and more; marks also differ in shape). Text reaches a contrast of 4.5 on every surface, marks 3 (WCAG 2.2, 1.4.3
and 1.4.11).
"""

from __future__ import annotations

LIGHT = {
    "page": "#f5f4f0",
    "panel": "#ffffff",
    "sunk": "#faf9f6",
    "ink": "#17212b",
    "quiet": "#55616d",
    "rule": "#e2dfd7",
    "grid": "#eceae4",
    "accent": "#0c5a72",
    "accent-soft": "#e3eff2",
    "better": "#0a6b4b",
    "worse": "#a8371c",
    "alert": "#7a4a00",
    "alert-soft": "#fff1d1",
    "validation": "#7d8995",
    "standard": "#0b69c3",
    "noisy": "#d0701c",
    "cross_site": "#089f62",
    "adversarial": "#7e1c46",
    "head": "#27406b",
    "middle": "#1a8fa0",
    "tail": "#b9770a",
    "train": "#0b4f9e",
    "aggregate": "#7e1c46",
    "evaluate": "#8a6100",
    "other": "#6b757e",
    "count": "#a7b0b8",
}

DARK = {
    "page": "#0e1316",
    "panel": "#161d22",
    "sunk": "#12181c",
    "ink": "#e8edf0",
    "quiet": "#9eabb5",
    "rule": "#2a343b",
    "grid": "#232c33",
    "accent": "#6cc3d9",
    "accent-soft": "#16323b",
    "better": "#5fd0a3",
    "worse": "#ff9475",
    "alert": "#ffd486",
    "alert-soft": "#3a2c0c",
    "validation": "#808b96",
    "standard": "#3d93f2",
    "noisy": "#f39d2a",
    "cross_site": "#2fd394",
    "adversarial": "#f2b7ed",
    "head": "#6f88ff",
    "middle": "#58e0de",
    "tail": "#dbad64",
    "train": "#449af3",
    "aggregate": "#f0bbed",
    "evaluate": "#d99435",
    "other": "#808a93",
    "count": "#5c6872",
}


def declarations(colours: dict[str, str]) -> str:
    """The colours as CSS custom properties."""
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
