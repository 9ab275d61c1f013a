"""Sentences that were translated there and back before, sealed on the site's disk: a translation costs more than all of training.

Kept is what the models said; gates and guard look at it anew each time. One file a pair of models. A damaged one counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from emr_fl_client.dataset.sealed import Unreadable, seal, unseal
from emr_fl_shared.durable import write_durably

_NAME = "translations.sealed"


class Translations:
    """The cache in `folder`, sealed with the site's `key`."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._path = folder / _NAME
        self._key = key

    def find(self, models: str) -> dict[str, str]:
        """Sentence → what came back, for the pair of models with this digest; empty where another pair was used last."""
        try:
            known: dict[str, str] = json.loads(unseal(self._path, self._key, _purpose(models)))
        except (OSError, Unreadable):
            return {}
        return known

    def keep(self, models: str, translations: Mapping[str, str]) -> None:
        """Replace what is kept. Raises `StorageError`."""
        content = json.dumps(dict(translations), ensure_ascii=False).encode()
        write_durably(self._path, seal([content], self._key, _purpose(models)))


def _purpose(models: str) -> str:
    return f"translations|{models}"
