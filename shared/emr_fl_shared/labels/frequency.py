"""Frequent and rare labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import SupportsFloat

HEAD_LABELS = 10
FREQUENCY_GROUPS = ("head", "middle", "tail")


def frequency_groups(support: Iterable[SupportsFloat]) -> list[str]:
    """`head`: the ten most frequent labels (a third of them, where there are fewer than thirty); `tail`: the least frequent
    third; `middle`: the others. Equal supports: the earlier label counts as the more frequent."""
    counts = [float(count) for count in support]
    total = len(counts)
    head = min(HEAD_LABELS, math.ceil(total / 3))
    tail = total // 3
    groups = ["middle"] * total
    for rank, label in enumerate(sorted(range(total), key=lambda label: -counts[label])):
        if rank < head:
            groups[label] = "head"
        elif rank >= total - tail:
            groups[label] = "tail"
    return groups
