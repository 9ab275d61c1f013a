"""What recognisers return, and how overlapping findings are settled."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

KINDS = (
    "PATIENT_NAME",
    "STAFF_NAME",
    "RELATIVE_NAME",
    "HOSPITAL",
    "DEPARTMENT",
    "BED_NUM",
    "VISIT_NUM",
    "RECORD_NUM",
    "EXAM_NUM",
    "ID_CARD",
    "PERMIT",
    "PASSPORT",
    "PHONE",
    "ADDRESS",
    "INSURANCE_NUM",
    "BANK_CARD",
    "PLATE",
    "EMAIL",
    "QQ",
    "WECHAT",
    "EMPLOYER",
    "SCHOOL",
    "DATE",
    "AGE90",
)
"""Every kind of identifier; the placeholder of a kind is `[KIND]`."""

_UNCOVERED = re.compile(rb"\0+")


class Span(NamedTuple):
    """A finding: characters `start` to `end` (exclusive) of the text are of `kind`; `score` in (0, 1].

    It never holds the characters themselves.
    """

    start: int
    end: int
    kind: str
    score: float


def settle(spans: Iterable[Span]) -> list[Span]:
    """Spans that do not overlap, in order.

    The higher score wins, then the longer span. What a loser covers beyond the winner stays removed if the loser
    was sure (score ≥ 0.9, names ≥ 0.85), since a doubt about the kind is no reason to show the text. Neighbours of one kind that
    touch become one span.
    """
    ordered = sorted(spans, key=lambda span: (-span.score, span.start - span.end, span.start))
    covered = bytearray(max((span.end for span in ordered), default=0))  # one for a character of a winner
    kept: list[Span] = []
    for span in ordered:
        start, end, _, score = span
        if covered.find(1, start, end) < 0:
            kept.append(span)
            covered[start:end] = b"\1" * (end - start)
        elif score >= (0.85 if span.kind.endswith("_NAME") else 0.9):
            # One character over is a slip of the boundary, except in a name: 王芳 on the roster, 王芳华 in the text.
            least = 1 if span.kind.endswith("_NAME") else 2
            for left, right in [piece.span() for piece in _UNCOVERED.finditer(covered, start, end)]:
                if right - left >= least:
                    kept.append(span._replace(start=left, end=right))
                    covered[left:right] = b"\1" * (right - left)
    kept.sort()
    merged: list[Span] = []
    for span in kept:
        if merged and merged[-1].end == span.start and merged[-1].kind == span.kind:
            last = merged[-1]
            merged[-1] = Span(last.start, span.end, span.kind, max(last.score, span.score))
        else:
            merged.append(span)
    return merged
