"""Paraphrase by way of the lexicon: term → concept → another wording of it, and enumerations in another order.

What a translation into another language and back does to a note, without a model: the words go through what they mean. The
lexicon joins the Chinese wordings of a concept of whatever register, and concepts that share an English name are one and the same
there; order is free where bare findings are listed (胸闷、气促、乏力).
"""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cache

from emr_fl_client.augment.operator import Operator, chosen
from emr_fl_client.augment.wordings import Table, replacements
from emr_fl_shared.text.confusions import term_pairs
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.guard import Analysis, TermSpan
from emr_fl_shared.text.lexicon import UNIT, load_lexicon

_SEPARATORS = "、，,"
_ENDS = "、，,。；;\n"
_OPENS = _ENDS + "：:"


@cache
def pivot_pairs() -> Table:
    """Training wording → all other training wordings of its concept, and of those with the same English name."""
    allowed = term_pairs("train")
    by_meaning: dict[str, list[str]] = defaultdict(list)
    for term in load_lexicon().terms.values():
        if term.kind != UNIT:
            by_meaning[term.en.lower() or term.term] += [
                wording for wording in term.training_wordings if wording in allowed
            ]
    table: dict[str, tuple[str, ...]] = {}
    for wordings in by_meaning.values():
        for wording in wordings:
            if others := tuple(dict.fromkeys(other for other in wordings if other != wording)):
                table[wording] = others
    return table


class Pivot(Operator):
    """Says each lexicon term in another way with probability 0.5 and puts every enumeration of bare terms in another order."""

    name = "pivot"

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def plan(self, analysis: Analysis, rng: random.Random) -> list[Edit]:
        table = pivot_pairs()
        spans = [span for span in analysis.terms if span.wording in table]
        reworded = {
            edit[:2]: edit
            for edit in replacements(analysis.text, chosen(spans, self.probability, rng), table, rng)
        }
        for items in enumerations(analysis):
            order = rng.sample(items, len(items))
            for place, item in zip(items, order, strict=True):
                new = reworded.pop(item[:2], None)
                wording = new.replacement if new else analysis.text[item.start : item.end]
                if wording != analysis.text[place.start : place.end]:
                    reworded[place.start, place.end] = Edit(place.start, place.end, wording)
        return sorted(reworded.values())


def enumerations(analysis: Analysis) -> list[list[TermSpan]]:
    """Runs of two findings or more with nothing but a separator between them, outside of every negation and protected span."""
    text, lexicon, free = analysis.text, load_lexicon(), frozenset(analysis.free)
    runs: list[list[TermSpan]] = []
    for span in sorted(analysis.terms):
        concept = lexicon.concept(span.wording)
        finding = concept is not None and lexicon.terms[concept].is_finding
        if span.negated or not finding or not free.issuperset(range(span.start, span.end)):
            continue
        last = runs[-1][-1] if runs else None
        if last is not None and span.start == last.end + 1 and text[last.end] in _SEPARATORS:
            runs[-1].append(span)
        else:
            runs.append([span])
    return [items for run in runs if len(items := _bare(run, text)) > 1]


def _bare(run: list[TermSpan], text: str) -> list[TermSpan]:
    """The run without its first and last term where something else belongs to them: 伴胸闷、气促3天."""
    start, end = run[0].start, run[-1].end
    first = 0 if start == 0 or text[start - 1] in _OPENS else 1
    last = len(run) if end == len(text) or text[end] in _ENDS else len(run) - 1
    return run[first:last]
