"""Words filled in by a masked language model.

Kobayashi, Contextual Augmentation, NAACL 2018, without its condition on the label; Wu et al., Conditional BERT Contextual Augmentation,
ICCS 2019, §3.1. As in the paper that emr-fl follows, 10–15 % of a text's words are masked, whole, and the model's first choice takes
their place, token by token. Deviations: only words are masked that are no lexicon term and hold nothing that the guard protects, so that
findings, negations, numbers and sides stay out of its reach; only Chinese characters that carry no meaning by themselves
(`confusions.MEANINGFUL`) come in; `pick = "sample"` draws from the five best ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from emr_fl_client.augment.operator import shared_guard
from emr_fl_client.augment.rewriter import Rewriter
from emr_fl_shared.model.batching import pad_batch
from emr_fl_shared.model.masked_lm import MaskedLM, masked_logits
from emr_fl_shared.model.masking import Maskable, read_words
from emr_fl_shared.text.confusions import MEANINGFUL
from emr_fl_shared.text.edits import Edit
from emr_fl_shared.text.normalise import is_hanzi
from emr_fl_shared.text.words import Word

Pick = Literal["top", "sample"]

LOWEST, HIGHEST = 0.10, 0.15
"""Share of a text's words that are masked, drawn for each text."""
_BEST = 5


@dataclass(frozen=True)
class _Masked:
    """A text with masks: its token ids, and by word what stands where."""

    row: int
    token_ids: list[int] = field(repr=False)
    words: list[tuple[Word, list[int]]] = field(repr=False)
    """Each masked word, and the positions of its tokens."""


class MaskedWords(Rewriter):
    """`mlm`: see the module's docstring. The model stays on the device that it is on."""

    name: ClassVar[str] = "mlm"

    def __init__(self, masked: MaskedLM, *, pick: Pick = "top", batch_size: int = 64) -> None:
        super().__init__()
        self._masked = masked
        self._pick = pick
        self._batch_size = batch_size
        self._allowed = _allowed_tokens(masked)

    def propose(self, texts: Sequence[str], rng: random.Random) -> list[list[Edit]]:
        proposals: list[list[Edit]] = [[] for _ in texts]
        read = read_words(self._masked.tokenizer, texts, self._masked.max_length)
        masked = [
            found
            for row, (text, tokens) in enumerate(zip(texts, read, strict=True))
            if (found := self._mask(row, text, tokens, rng)) is not None
        ]
        # by length, so that little is computed for padding; draws come in this order too
        masked.sort(key=lambda found: len(found.token_ids))
        for first in range(0, len(masked), self._batch_size):
            self._fill(masked[first : first + self._batch_size], texts, proposals, rng)
        return proposals

    def _mask(self, row: int, text: str, tokens: Maskable, rng: random.Random) -> _Masked | None:
        """The text with some of its words masked; `None` if there is none that may be."""
        position_of = dict(zip(tokens.spans, tokens.words, strict=True))
        free = _replaceable(text)
        # a word of which tokens were cut off, or which is not one token a character, can't be put together again
        candidates = [
            word
            for word, positions in position_of.items()
            if len(positions) == word.end - word.start and free.issuperset(range(word.start, word.end))
        ]
        if not candidates:
            return None
        share = LOWEST + (HIGHEST - LOWEST) * rng.random()
        count = max(1, int(share * len(position_of) + rng.random()))
        chosen = rng.sample(candidates, min(count, len(candidates)))
        ids = list(tokens.token_ids)
        for word in chosen:
            for position in position_of[word]:
                ids[position] = int(self._masked.tokenizer.mask_token_id)
        return _Masked(row, ids, [(word, position_of[word]) for word in sorted(chosen)])

    def _fill(
        self, part: Sequence[_Masked], texts: Sequence[str], proposals: list[list[Edit]], rng: random.Random
    ) -> None:
        best, chances = self._best(part)
        number = 0
        for found in part:
            for word, positions in found.words:
                new = []
                for _ in positions:
                    new.append(self._picked(best[number], chances[number], rng))
                    number += 1
                old, filled = texts[found.row][word.start : word.end], "".join(new)
                if filled != old:
                    proposals[found.row].append(Edit(word.start, word.end, filled))

    def _picked(self, tokens: Sequence[str], chances: Sequence[float], rng: random.Random) -> str:
        return tokens[0] if self._pick == "top" else rng.choices(tokens, weights=chances)[0]

    @torch.no_grad()
    def _best(self, part: Sequence[_Masked]) -> tuple[list[list[str]], list[list[float]]]:
        """For every masked token of the part, in reading order, the best characters and their probabilities."""
        model, tokenizer = self._masked.model, self._masked.tokenizer
        device = next(model.parameters()).device
        ids, mask = pad_batch(
            [found.token_ids for found in part],
            int(tokenizer.pad_token_id),
            limit=self._masked.max_length,
            device=device,
        )
        there = torch.zeros_like(ids, dtype=torch.bool)
        for row, found in enumerate(part):
            there[row, [position for _, positions in found.words for position in positions]] = True
        was_training = model.training
        model.eval()
        try:
            logits = masked_logits(model, ids, mask, there).float()
        finally:
            model.train(was_training)
        allowed = self._allowed.to(device)
        top = logits[:, allowed].softmax(dim=1).topk(_BEST, dim=1)
        tokens = [tokenizer.convert_ids_to_tokens(row) for row in allowed[top.indices].tolist()]
        return tokens, top.values.tolist()


def _replaceable(text: str) -> frozenset[int]:
    """Places of Chinese characters that the guard leaves free and that no term of the lexicon covers."""
    analysis = shared_guard().analyse(text)
    covered = {place for span in analysis.terms for place in range(span.start, span.end)}
    return frozenset(
        place
        for place in analysis.free
        if place not in covered and is_hanzi(text[place]) and text[place] not in MEANINGFUL
    )


def _allowed_tokens(masked: MaskedLM) -> Tensor:
    """Ids, int64, of the tokens that are one Chinese character without a meaning of its own."""
    tokens = masked.tokenizer.convert_ids_to_tokens(range(len(masked.tokenizer)))
    return torch.tensor(
        [
            number
            for number, token in enumerate(tokens)
            if len(token) == 1 and is_hanzi(token) and token not in MEANINGFUL
        ]
    )
