"""What recognisers return, and how overlapping findings are settled."""

from __future__ import annotations

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
    kept: list[Span] = []
    for span in ordered:
        pieces = [span]
        for other in kept:
            if not pieces:
                break
            pieces = [part for piece in pieces for part in _outside(piece, other)]
        if len(pieces) == 1 and pieces[0] == span:
            kept.append(span)
        elif span.score >= (0.85 if span.kind.endswith("_NAME") else 0.9):
            # One character over is a slip of the boundary, except in a name: 王芳 on the roster, 王芳华 in the text.
            least = 1 if span.kind.endswith("_NAME") else 2
            kept.extend(piece for piece in pieces if piece.end - piece.start >= least)
    kept.sort()
    merged: list[Span] = []
    for span in kept:
        if merged and merged[-1].end == span.start and merged[-1].kind == span.kind:
            last = merged[-1]
            merged[-1] = Span(last.start, span.end, span.kind, max(last.score, span.score))
        else:
            merged.append(span)
    return merged


def _outside(piece: Span, other: Span) -> list[Span]:
    """The parts of `piece` that `other` does not cover."""
    if piece.end <= other.start or other.end <= piece.start:
        return [piece]
    parts = []
    if piece.start < other.start:
        parts.append(piece._replace(end=other.start))
    if other.end < piece.end:
        parts.append(piece._replace(start=other.end))
    return parts
