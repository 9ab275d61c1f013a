"""How names of labels and diagnoses are compared."""

from __future__ import annotations

import re
import unicodedata


def fold_name(name: str) -> str:
    """A name without case, width and blanks."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", name)).casefold()
