"""Whole-word masking of Chinese text.

Devlin et al., BERT, NAACL 2019, §3.1; whole words: Cui et al., Pre-Training with Whole Word Masking for Chinese BERT, IEEE/ACM TASLP
2021, §III-A. Of a text's tokens `share` are chosen, by whole words in random order; of the chosen ones 80 % become the mask token, 10 % a
random one, 10 % stay, each token by itself. Never chosen: special tokens, punctuation, placeholders.
Deviation: at least one word is chosen in every text that has any, also where that is more than `share`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.text.words import Word, words

IGNORED = -100
"""Target of a place where nothing is predicted."""
_ENCODED_AT_ONCE = 1024
_MASK, _RANDOM = 0.8, 0.9


@dataclass(frozen=True)
class Maskable:
    """One text: its token ids, its words, and the positions of each word's tokens; words that were cut off are not among them."""

    token_ids: list[int] = field(repr=False)
    spans: list[Word] = field(repr=False)
    words: list[list[int]] = field(repr=False)


def read_words(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Maskable]:
    """Tokenise the texts as `encode` does and find out which tokens make up a word."""
    read = []
    for first in range(0, len(texts), _ENCODED_AT_ONCE):
        part = list(texts[first : first + _ENCODED_AT_ONCE])
        encoded = tokenizer(
            part,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        for text, ids, offsets in zip(part, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            read.append(Maskable(list(ids), *_grouped(text, offsets)))
    return read


def _grouped(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[list[Word], list[list[int]]]:
    """The words that have tokens, and the tokens' positions."""
    found = words(text)
    word_at = [-1] * (len(text) + 1)
    for number, word in enumerate(found):
        word_at[word.start : word.end] = [number] * (word.end - word.start)
    groups: list[list[int]] = [[] for _ in found]
    for position, (start, end) in enumerate(offsets):
        if end > start and (number := word_at[start]) >= 0:
            groups[number].append(position)
    there = [number for number, group in enumerate(groups) if group]
    return [found[number] for number in there], [groups[number] for number in there]


class Masking:
    """Draws masks for texts of one tokenizer."""

    def __init__(self, tokenizer: Any, share: float = 0.15) -> None:
        self._mask_id = int(tokenizer.mask_token_id)
        self._share = share
        kept = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        self._words = np.array([token for token in range(len(tokenizer)) if token not in kept])

    def draw(self, text: Maskable, generator: np.random.Generator) -> tuple[list[int], list[int]]:
        """Token ids with masks, and targets: the token that was there where one was chosen, else `IGNORED`."""
        ids, targets = list(text.token_ids), [IGNORED] * len(text.token_ids)
        chosen = self._chosen(text, generator)
        draws = generator.random(len(chosen))
        others: NDArray[np.int64] = generator.choice(self._words, len(chosen))
        for position, draw, other in zip(chosen, draws, others, strict=True):
            targets[position] = ids[position]
            if draw < _MASK:
                ids[position] = self._mask_id
            elif draw < _RANDOM:
                ids[position] = int(other)
        return ids, targets

    def _chosen(self, text: Maskable, generator: np.random.Generator) -> list[int]:
        budget = self._share * sum(map(len, text.words))
        chosen: list[int] = []
        for number in generator.permutation(len(text.words)):
            word = text.words[number]
            if not chosen or len(chosen) + len(word) <= budget:
                chosen += word
            if len(chosen) >= budget:
                break
        return chosen
