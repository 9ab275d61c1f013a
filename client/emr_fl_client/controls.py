"""A site's control variate (SCAFFOLD) from round to round, sealed on its disk.

One file a round, written before the update that belongs to it: a question that comes again finds the control that it found the
first time, whether the server lost the answer or took the round up again. The last rounds stay for a coordinator that goes back to an
older checkpoint; what a later round left is deleted then. A mean gradient says as much of the records as an update does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from emr_fl_client.dataset.sealed import Unreadable, seal, unseal
from emr_fl_shared.durable import storage_error, write_durably
from emr_fl_shared.errors import DataError
from emr_fl_shared.payload import Float32, Shapes, pack_tensors, unpack_tensors

KEEP = 3
_NAME = re.compile(r"control-(\d{5,})\.sealed")


class KeptControls:
    """The control variates of run `run` in `folder`, sealed with the site's `key`."""

    def __init__(self, folder: Path, key: bytes, run: str) -> None:
        self._folder = folder
        self._key = key
        self._purpose = f"control|{run}"

    def before(self, round_number: int, shapes: Shapes) -> dict[str, Float32] | None:
        """The newest one of an earlier round; `None` if there is none, or it is damaged, of another run or another model."""
        rounds = [number for number in self._rounds() if number < round_number]
        if not rounds:
            return None
        try:
            return unpack_tensors(unseal(self._path(max(rounds)), self._key, self._purpose), shapes)
        except (OSError, Unreadable, DataError):
            return None

    def keep(self, round_number: int, control: Mapping[str, Float32]) -> None:
        """Keep that of a round and delete those that are too old or of later rounds. Raises `StorageError`."""
        content = seal([pack_tensors(control).data], self._key, self._purpose)
        write_durably(self._path(round_number), content)
        try:
            for number in self._rounds():
                if not round_number - KEEP < number <= round_number:
                    self._path(number).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self._folder) from error

    def _rounds(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return [int(match[1]) for match in found if match]

    def _path(self, round_number: int) -> Path:
        return self._folder / f"control-{round_number:05d}.sealed"
