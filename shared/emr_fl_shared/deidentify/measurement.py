"""How much is found: recall by kind on notes whose identifiers are known, so that a promise has a figure behind it.

A planted identifier counts as *removed* if none of its letters, digits and Chinese characters is left, whatever the kind
under which it was found, and as *right* if the span that covers most of it has its kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from emr_fl_shared.deidentify.deidentifier import Deidentifier
from emr_fl_shared.deidentify.spans import Span


@dataclass(frozen=True, slots=True)
class Planted:
    """A note, its planted identifiers as (start, end, kind), and its row's own identifier columns."""

    text: str = field(repr=False)
    truth: tuple[tuple[int, int, str], ...]
    known: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class KindRecall:
    """Of `planted` identifiers of a kind `removed` left nothing behind, `right` of them under their own kind."""

    kind: str
    planted: int
    removed: int
    right: int

    @property
    def recall(self) -> float:
        """The share removed."""
        return self.removed / self.planted if self.planted else 1.0


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): the shares p whose own spread √(p(1 − p)/n) would hold the one seen.

    (0, 1) without trials.
    """
    if trials == 0:
        return 0.0, 1.0
    z = 1.959964
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    whole = 1 + z * z / trials
    return max(0.0, (centre - half) / whole), min(1.0, (centre + half) / whole)


def removed_and_right(note: Planted, spans: Iterable[Span]) -> Iterator[tuple[str, bool, bool]]:
    """Of each planted identifier: its kind, whether nothing of it is left, and whether it was taken for its kind."""
    covered: dict[int, str] = {}
    for span in spans:
        covered.update(dict.fromkeys(range(span.start, span.end), span.kind))
    for start, end, kind in note.truth:
        wanted = [index for index in range(start, end) if note.text[index].isalnum()]
        gone = all(index in covered for index in wanted)
        kinds = Counter(covered[index] for index in wanted) if gone else Counter()
        yield kind, gone, bool(kinds) and kinds.most_common(1)[0][0] == kind


def measure_recall(notes: Iterable[Planted], deidentifier: Deidentifier | None = None) -> list[KindRecall]:
    """Recall by kind, sorted by kind; the last entry, `all`, is the total."""
    cleaner = deidentifier or Deidentifier()
    planted: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for note in notes:
        _, spans = cleaner.text(note.text, note.known)
        for kind, gone, same in removed_and_right(note, spans):
            planted[kind] += 1
            removed[kind] += gone
            right[kind] += same
    rows = [KindRecall(kind, planted[kind], removed[kind], right[kind]) for kind in sorted(planted)]
    rows.append(KindRecall("all", sum(planted.values()), sum(removed.values()), sum(right.values())))
    return rows


def recall_table(rows: Sequence[KindRecall]) -> str:
    """The rows as a Markdown table, as the documentation shows them."""
    lines = ["| kind | planted | removed | recall | 95 % | kind right |", "|---|---|---|---|---|---|"]
    for row in rows:
        low, high = wilson(row.removed, row.planted)
        lines.append(
            f"| {row.kind} | {row.planted} | {row.removed} | {row.recall:.3f} | {low:.3f}–{high:.3f} "
            f"| {row.right / max(row.planted, 1):.3f} |"
        )
    return "\n".join(lines)
