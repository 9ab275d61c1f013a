"""The tokens that stand where an identifier was: `[PATIENT_NAME]`, `[HOSPITAL]`, `[DATE]`, a shifted `[DATE:2023-11-02]` …"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

PLACEHOLDER = re.compile(r"\[(?:[A-Z][A-Z0-9_]{1,30}|DATE:\d{4}-\d{2}(?:-\d{2})?)\]")
"""Any placeholder, also one that a site added and the list does not know; a shifted date holds its month or day."""


@cache
def placeholders() -> tuple[str, ...]:
    """All placeholders that de-identification writes, in the order of `resources/vocabulary/placeholders.txt`."""
    path = files("emr_fl_shared") / "resources" / "vocabulary" / "placeholders.txt"
    return tuple(path.read_text(encoding="utf-8").split())
