"""Colours, for light and dark.

The five series and three groups stay apart under deuteranopia, protanopia and tritanopia (each pair also differs in
shape); `ink` and `quiet` reach a contrast of 4.5 on both surfaces, the series colours 3 (WCAG 2.2, 1.4.3 and 1.4.11).
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
    "validation": "#7a8591",
    "standard": "#0b63a8",
    "noisy": "#cc4a12",
    "cross_site": "#0b8468",
    "adversarial": "#8b3fa0",
    "head": "#27406b",
    "middle": "#1a8fa0",
    "tail": "#b9770a",
    "train": "#0b63a8",
    "aggregate": "#8b3fa0",
    "evaluate": "#0b8468",
    "other": "#a7aeb5",
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
    "validation": "#8d99a4",
    "standard": "#5eaef0",
    "noisy": "#f58b52",
    "cross_site": "#3fc7a2",
    "adversarial": "#cf8fe2",
    "head": "#8fa9dc",
    "middle": "#3fc0d0",
    "tail": "#e3b04b",
    "train": "#5eaef0",
    "aggregate": "#cf8fe2",
    "evaluate": "#3fc7a2",
    "other": "#69757f",
}


def declarations(colours: dict[str, str]) -> str:
    """The colours as CSS custom properties."""
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
