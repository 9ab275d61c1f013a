"""A name that was announced once is found wherever it stands again in the same text.

>>> from emr_fl_shared.deidentify.recurrence import again
>>> from emr_fl_shared.deidentify.spans import Span
>>> text = "患者逄子豪来诊,逄子豪平素体健"
>>> again(text, [Span(2, 5, "PATIENT_NAME", 0.9)])
[Span(start=8, end=11, kind='PATIENT_NAME', score=0.85)]
"""

from __future__ import annotations

from collections.abc import Iterable

from emr_fl_shared.deidentify.name_shape import is_chinese, name_shape
from emr_fl_shared.deidentify.spans import Span

_NAMES = frozenset(("PATIENT_NAME", "STAFF_NAME", "RELATIVE_NAME"))
_SURE = 0.85


def again(text: str, found: Iterable[Span]) -> list[Span]:
    """Further occurrences in the folded `text` of the names in `found` that were announced (score ≥ 0.85), with a score of 0.85.

    A name of two characters, or one that is a word as well, must stand between boundaries to be found again.
    """
    spans: list[Span] = []
    seen: set[tuple[int, int]] = set()
    names: dict[str, str] = {}
    for span in found:
        if span.kind in _NAMES:
            seen.add((span.start, span.end))
            if span.score >= _SURE and span.end - span.start >= 2:
                names.setdefault(text[span.start : span.end], span.kind)
    shape = name_shape()
    for name, kind in names.items():
        at = text.find(name)
        if at == text.rfind(name):
            continue
        weak = len(name) == 2 or shape.is_usual(name)
        while at >= 0:
            end = at + len(name)
            bounded = shape.ends(text, end) or not (at and is_chinese(text[at - 1]))
            if (at, end) not in seen and (bounded or not weak):
                spans.append(Span(at, end, kind, _SURE))
            at = text.find(name, end)
    return spans
