"""Values that gave no label, with counts, written for the hospital's own eyes to a file that the user named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emr_fl_deploy.data_check.quarantine import BOM, csv_line, refuse_existing
from emr_fl_shared.durable import write_durably
from emr_fl_shared.labels import MappedValue, fold_name
from emr_fl_shared.messages import tr
from emr_fl_shared.quality.labelling import reason_words
from emr_fl_shared.sources import AnySource, short_name


class UnmappedValues:
    """Counts values by file and reason and writes one CSV, the most frequent first."""

    def __init__(self, target: Path) -> None:
        """Raises `UsageError` if the file is there already."""
        refuse_existing(
            target,
            where="--unmapped",
            do=tr("name another file, or delete it", "请另选文件名，或先删除该文件"),
        )
        self._target = target
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, file: AnySource, value: MappedValue) -> None:
        """Count a value of `file`; spellings that differ in case, width and blanks are one."""
        self._counts[fold_name(value.value), value.reason, short_name(file)] += 1

    def write(self) -> None:
        """Write the file, readable by the owner only, in the form of `Quarantine`. Raises `StorageError`."""
        write_durably(self._target, self._encoded())

    def _encoded(self) -> Iterator[bytes]:
        yield BOM
        yield csv_line([tr("value", "值"), tr("reason", "原因"), tr("times", "次数"), tr("file", "文件")])
        for (value, reason, file), count in sorted(
            self._counts.items(), key=lambda item: (-item[1], item[0])
        ):
            yield csv_line([value, str(reason_words(reason)), str(count), file])
