"""The masked language model as the site left it after its last round of pretraining, for `training.augmentation.mlm`.

Sealed like everything that is kept of the records: it was made to fill in their words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emr_fl_client.dataset.sealed import Unreadable, seal, unseal
from emr_fl_shared.durable import write_durably
from emr_fl_shared.errors import DataError
from emr_fl_shared.payload import Float32, Shapes, pack_tensors, unpack_tensors

_NAME = "masked-lm.sealed"


class KeptMaskedLM:
    """At most one model in `folder`, of run `run`, sealed with the site's `key`."""

    def __init__(self, folder: Path, key: bytes, run: str) -> None:
        self._path = folder / _NAME
        self._key = key
        self._purpose = f"masked language model|{run}"

    def keep(self, tensors: Mapping[str, Float32]) -> None:
        """Replace what is kept. Raises `StorageError`."""
        write_durably(self._path, seal([pack_tensors(tensors).data], self._key, self._purpose))

    def find(self, shapes: Shapes) -> dict[str, Float32] | None:
        """The tensors; `None` if there are none, or they are damaged, of another run or another model."""
        try:
            return unpack_tensors(unseal(self._path, self._key, self._purpose), shapes)
        except (OSError, Unreadable, DataError):
            return None
