"""Accepted updates wait on disk until the round closes: one file a site, as it was received.

Memory holds one payload while it is checked and nothing afterwards, however many sites there are. Verify before storing:
a refused update leaves the folder as it was. What a killed server left behind is discarded on opening, as an
interrupted round is run again from its checkpoint.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

from emr_fl_server.aggregation.checks import check_update
from emr_fl_shared.durable import discard_partial, fsync_folder, storage_error, write_durably
from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Form, PayloadReader, Shapes

_SUFFIX = ".update"


@dataclass(frozen=True)
class SpooledUpdate:
    """An accepted update on disk. `weight` is its share before normalisation (usually the number of examples); `norm` is that of
    the difference, `control_norm` that of the control variate beside it (0 without one)."""

    site: str
    path: Path
    weight: float
    norm: float
    size: int
    form: Form
    shapes: Shapes = field(repr=False)
    control_norm: float = 0.0

    def open(self) -> PayloadReader:
        """A reader of its tensors; close it after use."""
        return PayloadReader(self.path, self.shapes, self.form)


class Spool:
    """The updates of one round. `shapes` and `form` are those of the round's model; nothing else gets in."""

    def __init__(self, folder: Path, shapes: Shapes, form: Form) -> None:
        self.folder = folder
        self.shapes = dict(shapes)
        self.form: Form = form
        self._updates: dict[str, SpooledUpdate] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            discard_partial(folder)
            for left_over in folder.glob(f"*{_SUFFIX}"):
                left_over.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error

    def accept(self, site: str, payload: bytes | memoryview, weight: float) -> SpooledUpdate:
        """Check a payload completely, then store it. Returns what was stored.

        Raises DataError (what is wrong with the payload), FederationError (a second update of the same site, or a weight that
        is not a positive number) and StorageError (disk full); in each case nothing was stored.
        """
        if site in self._updates:
            raise FederationError(tr("a second update in one round", "同一轮重复提交更新"), where=site)
        if not (math.isfinite(weight) and weight > 0):
            raise FederationError(
                tr("an update needs a positive weight", "更新的权重必须为正数"), where=site, got=str(weight)
            )
        with PayloadReader(payload, self.shapes, self.form) as reader:
            norm, control_norm = check_update(reader)
        path = self.folder / _file_name(site)
        size = write_durably(path, [payload])
        update = SpooledUpdate(site, path, float(weight), norm, size, self.form, self.shapes, control_norm)
        self._updates[site] = update
        return update

    @property
    def updates(self) -> tuple[SpooledUpdate, ...]:
        """What was accepted, in the order of site names — the order of the sum, whatever the order of arrival."""
        return tuple(self._updates[site] for site in sorted(self._updates))

    def discard(self, site: str) -> None:
        """Take one site's update out again (it failed the comparison with the others)."""
        self._remove(self._updates[site])
        del self._updates[site]

    def clear(self) -> None:
        """Delete everything; called when the round's mean has been taken and its checkpoint written."""
        for site in list(self._updates):
            self.discard(site)

    def _remove(self, update: SpooledUpdate) -> None:
        try:
            update.path.unlink(missing_ok=True)
            fsync_folder(self.folder)
        except OSError as error:
            raise storage_error(error, self.folder) from error


def _file_name(site: str) -> str:
    # a site may be called anything; its name must not choose a path
    return hashlib.sha256(site.encode()).hexdigest()[:32] + _SUFFIX
