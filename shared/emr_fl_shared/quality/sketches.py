"""MinHash sketches of texts, and groups of texts that are nearly the same.

A. Broder, "On the resemblance and containment of documents", 1997: for a random order of all shingles, the probability that two
texts have the same first shingle is their Jaccard similarity |A ∩ B| / |A ∪ B|. A sketch holds the first shingle of each of
`BANDS * ROWS` orders. Texts that agree in all orders of a band (locality-sensitive hashing) are compared by the share of orders in
which they agree. Orders are multiplicative hashes of 32 bits, which are not exactly random; with 60 of them the estimate at
similarity .8 has a standard deviation of .05.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.deidentify.folding import fold

SHINGLE = 5
SHORTEST = 20
"""Characters, without punctuation, below which a text is too short to be called a copy."""
SIMILAR = 0.8
BANDS, ROWS = 12, 5
_ORDERS = BANDS * ROWS
_NEIGHBOURS = 4
_BATCH = 2048
_MARKS = re.compile(r"[\W_]+")

Sketches = NDArray[np.uint32]
"""One row of `BANDS * ROWS` numbers for each text."""

_draw = np.random.Generator(np.random.PCG64(20_240_501))
_FACTORS = _draw.integers(1, 2**32, _ORDERS, dtype=np.uint32) | np.uint32(1)
_MASKS = _draw.integers(0, 2**32, _ORDERS, dtype=np.uint32)


def comparable(text: str) -> str:
    """The text without width, case, blanks and punctuation; empty if too little is left to compare."""
    bare = _MARKS.sub("", fold(text)).lower()
    return bare if len(bare) >= SHORTEST else ""


def sketch(texts: Sequence[str]) -> Sketches:
    """uint32 [n, 60] for n texts, each of at least `SHINGLE` characters (as `comparable` gives them)."""
    rows = [_sketch_batch(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)]
    return np.concatenate(rows) if rows else np.empty((0, _ORDERS), np.uint32)


def _sketch_batch(texts: Sequence[str]) -> Sketches:
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lengths = np.fromiter((len(text) for text in texts), np.int64, len(texts))
    rolled = np.zeros(len(characters) - SHINGLE + 1, np.uint32)
    for offset in range(SHINGLE):
        rolled *= np.uint32(0x01000193)
        rolled ^= characters[offset : offset + len(rolled)]
    # Shingles that begin in the last characters of a text reach into the next one.
    ends = np.cumsum(lengths)
    inside = np.ones(len(characters), bool)
    for back in range(1, SHINGLE):
        inside[ends - back] = False
    shingles = _mixed(rolled[inside[: len(rolled)]])
    counts = lengths - (SHINGLE - 1)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    result = np.empty((len(texts), _ORDERS), np.uint32)
    for order in range(_ORDERS):
        ordered = (shingles ^ _MASKS[order]) * _FACTORS[order]
        result[:, order] = np.minimum.reduceat(ordered, starts)
    return result


def _mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finaliser of MurmurHash3: every bit in depends on every bit out."""
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def similar_groups(sketches: Sketches) -> NDArray[np.int64]:
    """int64 [n]: the number of each text's group; texts of one group are linked by pairs of similarity `SIMILAR` or more.

    In each band a text is compared with its next four among those that agree with it there, so a few pairs of large groups are
    left out; chains join them nearly always.
    """
    parent = np.arange(len(sketches))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = int(parent[item])
        return item

    for band in range(BANDS):
        part = sketches[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        key = part[:, 0].copy()
        for column in range(1, ROWS):
            key = key * np.uint64(0x9E3779B97F4A7C15) + part[:, column]
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        for step in range(1, _NEIGHBOURS + 1):
            at = np.nonzero(ordered[step:] == ordered[:-step])[0]
            one, other = order[at], order[at + step]
            alike = (sketches[one] == sketches[other]).mean(axis=1) >= SIMILAR
            for a, b in zip(one[alike].tolist(), other[alike].tolist(), strict=True):
                a, b = root(a), root(b)
                if a != b:
                    parent[max(a, b)] = min(a, b)
    return np.fromiter((root(item) for item in range(len(parent))), np.int64, len(parent))
