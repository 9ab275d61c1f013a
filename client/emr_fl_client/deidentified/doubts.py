"""The sentences that a human should read again: those of which de-identification is least sure.

For the hospital's own eyes: sentences stand there as cleaned, every removal as `[KIND]`, so that a reader sees what was left in.
"""

from __future__ import annotations

import csv
import heapq
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import ahocorasick

from emr_fl_shared.deidentify import Span
from emr_fl_shared.deidentify.folding import fold
from emr_fl_shared.deidentify.wordlists import automaton, rows
from emr_fl_shared.records import Record

_SENTENCE = re.compile(r"[^。！？!?；;\n]+[。！？!?；;]?")
_LONG_NUMBER = re.compile(r"\d[\d -]{5,}\d")
NUMBER_LEFT, CUE_LEFT = 0.6, 0.75
"""How sure we are of a sentence from which nothing was removed although a long number, or a word that announces an identifier, is in it."""
_COLUMNS = ("row", "field", "confidence", "removed", "sentence")
_BOM = "\ufeff"


@cache
def _cues() -> ahocorasick.Automaton:
    names = [row for row in rows("name_cues.tsv") if row[0] != "role"]  # 患者 is in every other sentence
    words = [cue for row in (*names, *rows("number_cues.tsv")) for cue in row[-1].split("|")]
    return automaton({cue: True for cue in words if len(cue) >= 2})


class Doubts:
    """Keeps the `limit` sentences with the lowest confidence: the least sure removal in them, or what seems to be left."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[tuple[float, int, int, str, str, str]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(
        self, row: int, record: Record, spans: Mapping[str, Sequence[Span]], fields: Sequence[str]
    ) -> None:
        """Look at a record as it was read; `row` is where its copy will stand (the header is row 1)."""
        if not self._limit:
            return
        for name in fields:
            text = getattr(record, name)
            if text:
                for confidence, kinds, sentence in _judged(text, spans.get(name, ())):
                    self._order += 1
                    # The first to be thrown out is the surest, then the latest.
                    entry = (-confidence, -self._order, row, name, kinds, sentence)
                    if len(self._kept) < self._limit:
                        heapq.heappush(self._kept, entry)
                    elif entry > self._kept[0]:
                        heapq.heapreplace(self._kept, entry)

    def csv(self) -> Iterator[bytes]:
        """The list as CSV (UTF-8 with a byte-order mark), the least sure first."""
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        buffer.write(_BOM)
        writer.writerow(_COLUMNS)
        for confidence, _, row, name, kinds, sentence in sorted(self._kept, reverse=True):
            writer.writerow((row, name, f"{-confidence:.2f}", kinds, sentence))
        yield buffer.getvalue().encode()


def _judged(text: str, spans: Sequence[Span]) -> Iterator[tuple[float, str, str]]:
    """(confidence, kinds removed, the sentence as cleaned) of every sentence that is not beyond doubt."""
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        inside = [span for span in spans if span.start < end and start < span.end]
        cleaned = _cleaned(text, start, end, inside)
        left = re.sub(r"\[[A-Z0-9_]+\]", "", fold(cleaned))
        scores = [span.score for span in inside]
        if _LONG_NUMBER.search(left):
            scores.append(NUMBER_LEFT)
        elif not inside and next(_cues().iter(left), None) is not None:
            scores.append(CUE_LEFT)
        if scores:
            yield min(scores), "|".join(span.kind for span in inside), cleaned.strip()


def _cleaned(text: str, start: int, end: int, spans: Sequence[Span]) -> str:
    parts, position = [], start
    for span in spans:
        parts += [text[position : max(position, span.start)], f"[{span.kind}]"]
        position = span.end
    return "".join([*parts, text[position:end]])
