"""The fixed rule that splits templates and word pools: rules may be mended on one half, the other is only counted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

Half = Literal["development", "sealed"]


def half_of(text: str) -> Half:
    """The half that a template or a word belongs to: the lowest bit of its SHA-256."""
    return "sealed" if hashlib.sha256(text.encode()).digest()[-1] & 1 else "development"


def of_half(texts: Sequence[str], half: Half) -> list[str]:
    """The texts that belong to `half`, in their order."""
    return [text for text in texts if half_of(text) == half]
