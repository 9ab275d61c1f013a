"""What a site keeps of its records: the sealed cache of prepared records and the split ledger, in one folder.

`RecordStore.prepared` and `.split` are all that a site needs: the records on their way to the model, read anew each time, prepared only
if they are not known, and on the same sides as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from emr_fl_client.dataset.cache import PreparedCache
from emr_fl_client.dataset.copies import copy_keys
from emr_fl_client.dataset.ledger import FOLDER, SplitLedger
from emr_fl_client.dataset.split import NO_MONTH, Kind, Split, split_records
from emr_fl_shared.deidentify import Deidentifier
from emr_fl_shared.durable import discard_partial, storage_error
from emr_fl_shared.errors import DataError, StorageError
from emr_fl_shared.labels import NO_LOCAL_LABELS, LocalLabels, Taxonomy
from emr_fl_shared.locks import in_turn
from emr_fl_shared.messages import tr
from emr_fl_shared.preparation import Prepared, prepare_read
from emr_fl_shared.sources import AnySource, as_source, read_records

_LOCK = ".lock"

Progress = Callable[[dict[str, Any]], None]


class RecordStore:
    """`state`: the folder of the site's state; `key`: what its files are sealed with; `where`: the setting that names the source.

    `progress` is told what is done: `reading`, then `from-cache` or `preparing` (with `because`: `new`, `changed` or `damaged`),
    `not-cached` with the reason, and `splitting` with the numbers of patients.
    """

    def __init__(self, state: Path, key: bytes, *, where: str, progress: Progress) -> None:
        self.folder = state / FOLDER
        self.ledger = SplitLedger(self.folder, key)
        self._cache = PreparedCache(self.folder, key)
        self._where = where
        self._progress = progress

    def prepared(
        self,
        source: AnySource,
        columns: Mapping[str, str] | None,
        taxonomy: Taxonomy,
        *,
        key: bytes,
        settings: Mapping[str, Any],
        deidentifier: Deidentifier | None = None,
        local: LocalLabels = NO_LOCAL_LABELS,
        standardised: bool = False,
    ) -> Prepared:
        """The site's prepared records, from the cache if they are there; the same either way.

        `key` keys the pseudonyms; `settings`: whatever else decides what comes out; `deidentifier` stands in for the default one;
        `local`: the site's own mapping of labels, whose digest belongs into `settings`;
        `standardised`: whether texts pass the input standardiser.
        Raises `DataError` if the source can't be read or no record is left.
        """
        self._progress({"doing": "reading"})
        records, report = read_records(source, columns)
        with self._held():
            name = self._cache.name(
                records, report.skipped, taxonomy, {**settings, "standardised": standardised}
            )
            if (found := self._cache.find(name)) is not None:
                self._progress({"doing": "from-cache"})
                self._cache.discard(besides=name)
                return found
            because = "damaged" if self._cache.has(name) else "changed" if self._cache.has() else "new"
            self._progress({"doing": "preparing", "because": because})
            prepared = prepare_read(
                records,
                report,
                taxonomy,
                key=key,
                where=str(as_source(source)),
                deidentifier=deidentifier,
                local=local,
                standardised=standardised,
            )
            self._keep(name, prepared)
        return prepared

    def split(self, prepared: Prepared, *, kind: Kind, validation_share: float, seed: int) -> Split:
        """Both sides, with new patients placed and written to the ledger.

        Raises `PolicyError` for a damaged ledger, `StorageError` if it can't be written, `DataError` if nothing is left to
        train on, or to validate on by time.
        """
        with self._held():
            known = self.ledger.read()
            if kind == "time":
                self._check_months(prepared)
            split = split_records(
                prepared.patients,
                prepared.labels,
                copies=copy_keys(prepared.texts),
                months=prepared.months,
                kind=kind,
                validation_share=validation_share,
                seed=seed,
                known=known,
            )
            if len(split.train) == 0:
                raise DataError(
                    tr("no training record is left", "没有可用于训练的记录"),
                    where=self._where,
                    got=", ".join(f"{reason}: {count}" for reason, count in sorted(split.set_aside.items())),
                )
            if split.placed:
                self.ledger.write(split.sides)
        self._progress(
            {
                "doing": "splitting",
                "known": len(known),
                "placed": split.placed,
                "set_aside": sum(split.set_aside.values()),
            }
        )
        return split

    def _keep(self, name: str, prepared: Prepared) -> None:
        """A cache that can't be written costs time, not the round: it is said, and the site goes on."""
        try:
            if not self._cache.keep(name, prepared):
                self._progress({"doing": "not-cached", "reason": tr("too large", "过大")})
        except StorageError as error:
            self._progress({"doing": "not-cached", "reason": error.render()})

    def _check_months(self, prepared: Prepared) -> None:
        dated = prepared.months[prepared.months != NO_MONTH]
        if len(np.unique(dated)) < 2:
            raise DataError(
                tr(
                    "a split by time needs visits of two months or more", "按时间划分需要至少两个月的就诊记录"
                ),
                where=self._where,
                got=tr(
                    f"{len(dated)} of {len(prepared)} records with a date",
                    f"{len(prepared)} 条记录中 {len(dated)} 条有日期",
                ),
                do=tr(
                    'map the column visit_date, or set training.split = "patient"',
                    '请映射 visit_date 列，或设 training.split = "patient"',
                ),
            )

    @contextmanager
    def _held(self) -> Iterator[None]:
        """One process at a time: another that needs the same records waits, and then finds them."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        with in_turn(self.folder / _LOCK):
            discard_partial(self.folder)
            yield
