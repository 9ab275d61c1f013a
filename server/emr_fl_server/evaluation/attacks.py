"""A score-based black-box attack on a text classifier, for all texts in parallel.

The attacker sees probabilities, no gradients. It is the greedy word-importance attack of the TextFooler family (Jin et al.,
AAAI 2020) for Chinese clinical characters: 1. rank the pieces of a text by how much their deletion hurts the right
labels; 2. piece by piece, the most important first, try replacements and keep the best one.

Symbols: x the text, F the probabilities, Y⁺ the true labels that F finds on x. The score that the attack lowers is
|Y⁺ still decided| + ½ (mean F over Y⁺ − 0.3 · max F over false labels): a lost label counts more than any margin, and the false
label matters where the decision is the most probable one.

Deviations from the paper: no word embeddings and no sentence encoder; replacements are what clinic staff really mistype or
write for one another, from the evaluation side of `emr_fl_shared.text.confusions` (same sound, same shape, reserved
wordings, dropped characters), and the meaning is kept by the guard: every candidate's negations, numbers, sides … are
read and compared with the original's before it may cost a query. A text is revisited while budget is left.

Attacked are the texts for which at least one true label is found; a text is broken when none of those labels is
decided any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.text.confusions import MEANINGFUL, homophones, lookalikes, term_pairs, unit_pairs
from emr_fl_shared.text.edits import Edit, apply_edits, fits
from emr_fl_shared.text.guard import Analysis, Guard
from emr_fl_shared.text.normalise import is_hanzi

Predict = Callable[[list[str]], NDArray[np.floating]]
Decide = Callable[[NDArray[np.floating]], NDArray[np.bool_]]

CANDIDATES = 5
"""Replacements tried for one piece at one visit."""
IMPORTANCE_SHARE = 0.4
"""At most this share of the budget goes into ranking."""
_PIECE = 2
"""Characters of a piece that is no lexicon term: about a Chinese word."""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What became of the texts; the arrays have one element for each."""

    texts: list[str] = field(repr=False)
    """Attacked texts changed as far as the attack got, the others as they were."""
    queries: int
    """Texts shown to the classifier in all, the unchanged ones included."""
    succeeded: int
    """Attacked texts of which no true label is decided any more."""
    n: int
    """Attacked texts: those of which at least one true label was decided before."""
    queries_each: NDArray[np.int64] = field(repr=False)
    attacked: NDArray[np.bool_] = field(repr=False)
    broken: NDArray[np.bool_] = field(repr=False)
    changed: NDArray[np.float64] = field(repr=False)
    """Share of the characters that were changed."""

    @property
    def success_rate(self) -> float:
        """Broken texts among the attacked ones; 0 if none was attacked."""
        return self.succeeded / self.n if self.n else 0.0

    @property
    def mean_queries(self) -> float:
        """Mean number of queries over the attacked texts; 0 if none was attacked."""
        return float(self.queries_each[self.attacked].mean()) if self.n else 0.0


def attack(
    texts: Sequence[str],
    targets: NDArray[np.bool_],
    predict: Predict,
    decide: Decide,
    *,
    budget: int,
    seed: int,
    max_changed: float = 0.15,
) -> AttackResult:
    """Attack every text with at most `budget` queries each.

    `targets` is bool[n, K]. `predict` turns m texts into float[m, K] and is called once a step with the candidates of all
    texts together; `decide` turns those into bool[m, K]. At most `max_changed` of a text's characters are changed (a longer
    replacement counts with its own length). What happens to a text depends on `seed`, its index and the classifier only.
    Raises ValueError for a budget below 1 or targets that don't fit.
    """
    if budget < 1:
        raise ValueError("budget must be at least 1")
    if targets.shape[:1] != (len(texts),):
        raise ValueError("targets must have one row for each text")
    if not texts:
        return _result([])

    probabilities = predict(list(texts))
    decided = decide(probabilities)
    guard = Guard(remember=len(texts) + 1)
    states = []
    for index, text in enumerate(texts):
        found = targets[index] & decided[index]
        state = _State(
            text, found, ~targets[index], random.Random(f"attack:{seed}:{index}"), guard, budget, max_changed
        )
        state.score = state.measure(probabilities[index], decided[index])
        states.append(state)

    running = [state for state in states if state.found.any()]
    _step(running, _State.deletions, _State.rank, predict, decide)
    while running := [state for state in running if state.going_on]:
        _step(running, _State.candidates, _State.improve, predict, decide)

    return _result(states)


def _result(states: Sequence[_State]) -> AttackResult:
    queries = np.array([state.queries for state in states], dtype=np.int64)
    attacked = np.array([state.found.any() for state in states], dtype=bool)
    broken = np.array([state.broken for state in states], dtype=bool)
    return AttackResult(
        texts=[state.text for state in states],
        queries=int(queries.sum()),
        succeeded=int(broken.sum()),
        n=int(attacked.sum()),
        queries_each=queries,
        attacked=attacked,
        broken=broken,
        changed=np.array([state.spent / max(1, len(state.original)) for state in states], dtype=np.float64),
    )


Candidates = list[tuple[str, tuple[Edit, ...]]]
Outcome = list[tuple[float, bool]]


def _step(
    states: Sequence[_State],
    propose: Callable[[_State], Candidates],
    take: Callable[[_State, Candidates, Outcome], None],
    predict: Predict,
    decide: Decide,
) -> None:
    """Ask every text for candidates, predict them all in one call, and hand each text its own results."""
    proposals = [propose(state) for state in states]
    batch = [text for proposal in proposals for text, _ in proposal]
    if not batch:
        for state in states:
            take(state, [], [])
        return
    probabilities = predict(batch)
    decided = decide(probabilities)
    row = 0
    for state, proposal in zip(states, proposals, strict=True):
        rows = range(row, row + len(proposal))
        row += len(proposal)
        state.queries += len(proposal)
        outcome = [
            (state.measure(probabilities[at], decided[at]), not bool((decided[at] & state.found).any()))
            for at in rows
        ]
        take(state, proposal, outcome)


class _State:
    """One text under attack."""

    def __init__(
        self,
        text: str,
        found: NDArray[np.bool_],
        false: NDArray[np.bool_],
        rng: random.Random,
        guard: Guard,
        budget: int,
        max_changed: float,
    ) -> None:
        self.original = self.text = text
        self.found = found
        self.false = false
        self.rng = rng
        self.guard = guard
        self.budget = budget
        self.queries = 1
        self.allowance = int(max_changed * len(text))
        self.spent = 0
        self.score = 0.0
        self.broken = False
        self.edits: tuple[Edit, ...] = ()
        self.seen = {text}
        self.analysis: Analysis | None = None
        self.pieces: list[tuple[int, int]] = []
        self.queue: list[tuple[int, int]] = []
        self.fruitless = 0

    def measure(self, probabilities: NDArray[np.floating], decided: NDArray[np.bool_]) -> float:
        """The score of the module's docstring for one row of length K."""
        if not self.found.any():
            return 0.0
        wrong = float(probabilities[self.false].max()) if self.false.any() else 0.0
        return float((decided & self.found).sum()) + 0.5 * (
            float(probabilities[self.found].mean()) - 0.3 * wrong
        )

    @property
    def going_on(self) -> bool:
        """Whether there is something left to try: budget, room, and a piece not tried since the last success."""
        return (
            not self.broken
            and self.queries < self.budget
            and self.spent < self.allowance
            and self.fruitless < len(self.pieces)
        )

    # -- step 1: importance -------------------------------------------------------------------------------------------

    def deletions(self) -> Candidates:
        """The text without each of its pieces; pieces are joined where the ranking budget is smaller than their number."""
        self.analysis = self.guard.analyse(self.original)
        self.pieces = _pieces(self.analysis)
        room = min(int(IMPORTANCE_SHARE * self.budget), self.budget - self.queries)
        if not self.pieces or room < 1:
            return []
        size = -(-len(self.pieces) // room)
        groups = [self.pieces[first : first + size] for first in range(0, len(self.pieces), size)]
        proposals = []
        for group in groups:
            edits = tuple(Edit(start, end, "") for start, end in group)
            proposals.append((apply_edits(self.original, edits), edits))
        return proposals

    def rank(self, proposals: Candidates, outcome: Outcome) -> None:
        """Order the pieces by how much the score falls without them."""
        importance = {
            (edit.start, edit.end): self.score - score
            for (_, edits), (score, _) in zip(proposals, outcome, strict=True)
            for edit in edits
        }
        self.rng.shuffle(
            self.pieces
        )  # pieces of one group, and all of them if nothing was ranked, come in random order
        self.pieces.sort(key=lambda piece: -importance.get(piece, 0.0))
        self.queue = list(self.pieces)

    # -- step 2: replacement ------------------------------------------------------------------------------------------

    def candidates(self) -> Candidates:
        """Meaning-keeping replacements for the next piece that has any, each with all edits made so far."""
        while self.fruitless < len(self.pieces):
            if not self.queue:
                self.queue = list(self.pieces)
            proposals = self._candidates_for(self.queue.pop(0))
            if proposals:
                return proposals
            self.fruitless += 1
        return []

    def _candidates_for(self, piece: tuple[int, int]) -> Candidates:
        assert self.analysis is not None
        limit = min(CANDIDATES, self.budget - self.queries)
        options = list(_options(self.analysis, piece))
        self.rng.shuffle(options)
        proposals: Candidates = []
        for option in options:
            if len(proposals) == limit:
                break
            if any(option.start < edit.end and edit.start < option.end for edit in self.edits):
                continue
            if self.spent + _cost(option) > self.allowance:
                continue
            edits = (*self.edits, option)
            text = apply_edits(self.original, edits)
            if text not in self.seen and self.guard.keeps(self.original, text):
                self.seen.add(text)
                proposals.append((text, edits))
        return proposals

    def improve(self, proposals: Candidates, outcome: Outcome) -> None:
        """Keep the best candidate if it lowers the score."""
        if not proposals:
            return
        best = min(range(len(proposals)), key=lambda at: outcome[at][0])
        score, broken = outcome[best]
        if score < self.score - 1e-9:
            self.text, self.edits = proposals[best]
            self.spent = sum(map(_cost, self.edits))
            self.score, self.broken = score, broken
            self.fruitless = 0
        else:
            self.fruitless += 1


def _cost(edit: Edit) -> int:
    return max(edit.end - edit.start, len(edit.replacement))


def _pieces(analysis: Analysis) -> list[tuple[int, int]]:
    """Disjoint spans that may be changed: lexicon terms, units, and the free characters between them two by two."""
    spans = [(span.start, span.end) for span in (*analysis.terms, *analysis.units)]
    taken = bytearray(len(analysis.text))
    for start, end in spans:
        taken[start:end] = b"\x01" * (end - start)
    run: list[int] = []
    for place in analysis.free:
        if taken[place] or not is_hanzi(analysis.text[place]):
            continue
        if run and (place != run[-1] + 1 or len(run) == _PIECE):
            spans.append((run[0], run[-1] + 1))
            run = []
        run.append(place)
    if run:
        spans.append((run[0], run[-1] + 1))
    return sorted(spans)


def _options(analysis: Analysis, piece: tuple[int, int]) -> Iterator[Edit]:
    """All replacements inside one piece, from the evaluation side only."""
    start, end = piece
    text = analysis.text
    is_unit = any(span.start == start for span in analysis.units)
    wordings = {span.start: span.wording for span in (*analysis.units, *analysis.terms)}
    if wording := wordings.get(start):
        for other in (unit_pairs("test") if is_unit else term_pairs("test")).get(wording, ()):
            if is_unit or fits(text, start, end, other):
                yield Edit(start, end, other)
    free = set(analysis.free)
    for place in range(start, end):
        char = text[place]
        if place in free and is_hanzi(char) and char not in MEANINGFUL:
            yield Edit(place, place + 1, "")
            for table in (homophones("test"), lookalikes("test")):
                for other in table.get(char, ()):
                    yield Edit(place, place + 1, other)
