"""Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow
import pyarrow.parquet

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.files import RecordFile, unreadable
from emr_fl_shared.sources.tabular import Row, Table, empty
from emr_fl_shared.sources.values import value_text

BATCH = 2000
LARGEST_CHUNK = 1 << 30
"""Bytes that one column of one row group may have unpacked: so much may be in memory at once."""


def read_parquet(file: RecordFile) -> Table:
    """The table of a Parquet file; every value becomes text, lists keep their values apart.

    Raises `DataError` for a file that is damaged, without rows, or whose row groups do not fit into memory; damage inside a row
    group shows while the rows are read.
    """
    where = str(file.path)
    try:
        parquet = pyarrow.parquet.ParquetFile(pyarrow.PythonFile(file.open(), mode="r"))
        about = parquet.metadata
        largest = max(
            (
                about.row_group(group).column(column).total_uncompressed_size
                for group in range(about.num_row_groups)
                for column in range(about.num_columns)
            ),
            default=0,
        )
        header = tuple(parquet.schema_arrow.names)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, error) from None
    if not about.num_rows:
        raise empty(where)
    if largest > LARGEST_CHUNK:
        raise DataError(
            tr("a row group is too large to be read", "行组过大，无法读取"),
            where=where,
            got=f"{largest >> 20} MB",
            expected=f"<= {LARGEST_CHUNK >> 20} MB",
            do=tr("write it with smaller row groups", "请以较小的行组重新写出"),
        )
    repaired: Counter[str] = Counter()
    return Table(where, "parquet", header, _rows(file, parquet, repaired), repaired=repaired)


def _rows(file: RecordFile, parquet: Any, repaired: Counter[str]) -> Iterator[Row]:
    number = 0
    try:
        for batch in parquet.iter_batches(batch_size=BATCH):
            columns = [
                [value_text(value, repaired) for value in column.to_pylist()] for column in batch.columns
            ]
            for cells in zip(*columns, strict=True):
                number += 1
                yield Row(number, cells)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _damaged(file, error) from None


def _damaged(file: RecordFile, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return unreadable(file.path, error)
    return DataError(
        tr("this Parquet file is damaged", "Parquet 文件已损坏"),
        where=str(file.path),
        do=tr("write it again", "请重新写出该文件"),
    )
