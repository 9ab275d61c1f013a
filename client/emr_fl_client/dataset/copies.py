"""Copies of one text under several patients: written once, pasted for the next. Across a split they would be known answers.

Two texts are copies if they agree in their letters and characters alone: numbers, punctuation, blanks, case and placeholders
do not count, since a pasted note gets new measurements and a new name. This is an equivalence, so groups of copies
need no threshold and do not grow by chains of resemblance. Short texts (咳嗽3天) agree by themselves and are not copies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from emr_fl_shared.text.placeholders import PLACEHOLDER

SHORTEST = 20
"""Letters and characters that a text must have to be taken for a copy."""
_NOT_COUNTED = re.compile(rf"(?:{PLACEHOLDER.pattern}|[\W\d_])+")


def copy_keys(texts: Sequence[str]) -> list[bytes]:
    """One key a text: equal for copies, empty for a text that is too short to tell."""
    return [_key(text) for text in texts]


def _key(text: str) -> bytes:
    letters = _NOT_COUNTED.sub("", text).casefold()
    if len(letters) < SHORTEST:
        return b""
    return hashlib.blake2b(letters.encode("utf-8", "surrogatepass"), digest_size=16).digest()
