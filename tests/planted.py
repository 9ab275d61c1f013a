"""The identifiers that the generator of the sample federation planted, for tests that search output for them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path


def planted(data: Path) -> set[str]:
    """The identifiers that the generator planted, read back through the side file's offsets."""
    tables: dict[str, list[dict[str, str]]] = {}
    found = set()
    for line in (data / "truth" / "identifiers.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["file"] not in tables:
            raw = (data / entry["file"]).read_bytes()
            try:
                text = raw.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = raw.decode("gb18030")
            tables[entry["file"]] = list(csv.DictReader(io.StringIO(text, newline="")))
        cell = tables[entry["file"]][entry["row"]][entry["column"]]
        found.add(cell[entry["start"] : entry["end"]])
    return found
