"""Opening a file of records: the errors that a person understands, and what kind of file it is by its first bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Literal

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

Kind = Literal["csv", "xlsx", "xls", "jsonl", "parquet"]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PARQUET = b"PAR1"
_JSON_LINES = {".jsonl", ".ndjson"}
KINDS = "CSV, TSV, XLSX, XLS, JSONL, Parquet"


class RecordFile:
    """A file that can be read from its start several times. What is no regular file (a pipe) is kept in memory."""

    def __init__(self, path: Path) -> None:
        """Raises `DataError` if there is no such file or it can't be read."""
        self.path = path
        self._data: bytes | None = None
        try:
            with path.open("rb") as stream:
                if not path.is_file():
                    self._data = stream.read()
        except FileNotFoundError:
            raise DataError(
                tr("no such file", "文件不存在"),
                where=str(path),
                do=tr(
                    "check the path; it is relative to the settings file",
                    "请检查路径；它相对于设置文件所在目录",
                ),
            ) from None
        except IsADirectoryError:
            raise DataError(
                tr("this is a folder, not a file", "这是文件夹，不是文件"), where=str(path), expected=KINDS
            ) from None
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from None

    def open(self) -> BinaryIO:
        """A new stream of bytes at the start of the file. Raises `DataError`."""
        if self._data is not None:
            return io.BytesIO(self._data)
        try:
            return self.path.open("rb")
        except OSError as error:
            raise unreadable(self.path, error) from None

    def kind(self) -> Kind:
        """What the file is: by its first bytes, and for text by its name."""
        with self.open() as stream:
            head = stream.read(8)
        if head.startswith(_ZIP):
            return "xlsx"
        if head.startswith(_OLE):
            return "xls"
        suffix = self.path.suffix.lower()
        if head.startswith(_PARQUET) or (suffix == ".parquet" and head):
            return "parquet"
        return "jsonl" if suffix in _JSON_LINES else "csv"


def unreadable(path: Path, error: Exception) -> DataError:
    """The error of a file that can't be opened, or not be read any further."""
    return DataError(
        tr("the file can't be read", "文件无法读取"),
        where=str(path),
        got=(error.strerror if isinstance(error, OSError) else None) or type(error).__name__,
    )
