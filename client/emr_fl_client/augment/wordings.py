"""Training wordings by register: formal (main term and synonyms) and informal (spoken words and abbreviations)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

from emr_fl_shared.text.confusions import term_pairs, unit_pairs
from emr_fl_shared.text.edits import Edit, fits
from emr_fl_shared.text.guard import TermSpan
from emr_fl_shared.text.lexicon import UNIT, load_lexicon

Table = Mapping[str, tuple[str, ...]]


def _kept(wording: str, others: Sequence[str], allowed: Table) -> tuple[str, ...]:
    return tuple(other for other in others if other in allowed.get(wording, ()))


@cache
def formal_pairs() -> Table:
    """Formal wording → other formal wordings of the same concept."""
    table = {}
    allowed = term_pairs("train")
    for term in load_lexicon().terms.values():
        if term.kind != UNIT:
            formal = (term.term, *term.synonyms)
            for wording in formal:
                if others := _kept(wording, formal, allowed):
                    table[wording] = others
    return table


@cache
def register_pairs() -> Table:
    """Formal wording → spoken words and abbreviations of the concept, and each of those → its formal wordings."""
    table = {}
    allowed = term_pairs("train")
    for term in load_lexicon().terms.values():
        if term.kind != UNIT:
            formal, informal = (term.term, *term.synonyms), (*term.colloquial, *term.abbreviations)
            for sources, targets in ((formal, informal), (informal, formal)):
                for wording in sources:
                    if others := _kept(wording, targets, allowed):
                        table[wording] = others
    return table


def unit_forms() -> Table:
    """Unit after a number → its other training wordings."""
    return unit_pairs("train")


def replacements(text: str, spans: Sequence[TermSpan], table: Table, rng: random.Random) -> list[Edit]:
    """One edit for each span that has a wording in `table` which can stand there."""
    edits = []
    for start, end, wording, _ in spans:
        other = rng.choice(table[wording])
        if fits(text, start, end, other):
            edits.append(Edit(start, end, other))
    return edits
