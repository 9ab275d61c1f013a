"""A finished update stays on the site's disk until the coordinator has gone on: what breaks is the transfer, not the training.

The same question (same request, same model) is answered with the same bytes, whatever happened in between: a lost line, a
killed process, a server that takes the round up again. Under privacy noise that is a necessity, not a saving: a second draw
would spend the budget twice. An update is as sensitive as what leaves the site, and it is kept with the same care: readable by
the owner only, replaced by the next round's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from emr_fl_shared.durable import discard_partial, storage_error, write_durably

_UPDATE, _ABOUT = "kept-update.bin", "kept-update.json"


def question_digest(request: str, model: bytes) -> str:
    """What identifies a question: SHA-256 over the request's text and the model's bytes."""
    digest = hashlib.sha256(request.encode())
    digest.update(b"\0")
    digest.update(model)
    return digest.hexdigest()


class KeptUpdate:
    """At most one update in `folder`, with the figures that belong to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, question: str) -> tuple[bytes, dict[str, Any]] | None:
        """The update that answered this question, with its figures; `None` if there is none or it is damaged."""
        try:
            about = json.loads((self._folder / _ABOUT).read_bytes())
            if about["question"] != question:
                return None
            digest, figures = about["sha256"], about["figures"]
            update = (self._folder / _UPDATE).read_bytes()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if hashlib.sha256(update).hexdigest() != digest or not isinstance(figures, dict):
            return None
        return update, figures

    def keep(self, question: str, update: bytes, figures: dict[str, Any]) -> None:
        """Replace what is kept. Raises `StorageError`."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            discard_partial(self._folder)
            # the figures go first to nothing, then the update, then its figures: a crash leaves no pair that does not belong together
            (self._folder / _ABOUT).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self._folder) from error
        write_durably(self._folder / _UPDATE, [update])
        about = {"question": question, "sha256": hashlib.sha256(update).hexdigest(), "figures": figures}
        write_durably(self._folder / _ABOUT, [json.dumps(about).encode()])
