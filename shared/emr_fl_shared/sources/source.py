"""Where records are: a file, or a query or view of a database."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr

_DATABASE = re.compile(r"^[A-Za-z][A-Za-z0-9+_.-]*://")
_SQLITE = re.compile(r"^(sqlite(?:\+pysqlite)?:///)([^?]*)(.*)$", re.DOTALL)
_SECRET_KEYS = re.compile(r"pass(word|wd)?$|pwd|secret|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One source of records.

    `location`: path of a file, or a SQLAlchemy URL without a password. `query` or `table`: what a database is asked.
    `sheet`: the sheet of a workbook, where it is not the first one with an understood header. `password_env`,
    `password_file`: where the password of the database is.
    """

    location: str
    query: str = field(default="", repr=False)
    table: str = ""
    sheet: str = ""
    password_env: str = ""
    password_file: str = ""

    @property
    def is_database(self) -> bool:
        """Whether the location is a URL of a database and not a path."""
        return is_database(self.location)

    @property
    def path(self) -> Path:
        """The location as a path."""
        return Path(self.location)

    def __str__(self) -> str:
        """The location as errors show it: a path, or a URL without its options."""
        return without_secrets(self.location) if self.is_database else self.location


AnySource: TypeAlias = Source | Path | str


def as_source(source: AnySource) -> Source:
    """`source` as a `Source`; a path is always a file, a text that begins like a URL is a database."""
    return source if isinstance(source, Source) else Source(str(source))


def short_name(source: AnySource) -> str:
    """A name for reports and for files beside it: the file's, or the database's table (`query` where there is none)."""
    found = as_source(source)
    return (found.table or "query") if found.is_database else found.path.name


def is_database(location: str) -> bool:
    """Whether `location` is a URL (`sqlite:///visits.db`) and not a path."""
    return _DATABASE.match(location) is not None


def without_secrets(url: str) -> str:
    """A URL without its options and without whatever stands as a password in it."""
    scheme, _, rest = url.partition("://")
    rest = rest.partition("?")[0]
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{host}"


def check_url(url: str) -> None:
    """Raises `SettingsError` for a URL that holds a password; the message shows nothing of the URL."""
    _, _, rest = url.partition("://")
    address, _, options = rest.partition("?")
    user, at, _ = address.rpartition("@")
    keys = [part.partition("=")[0] for part in re.split(r"[&;?]", options)]
    if (at and ":" in user) or any(_SECRET_KEYS.search(urllib.parse.unquote(key)) for key in keys):
        raise SettingsError(
            tr(
                "a password stands in the URL of the database: it would end in files, logs and lists of processes",
                "数据库 URL 中含有密码：它会进入文件、日志和进程列表",
            ),
            where="source",
            do=tr(
                'take it out and name where it is: password_env = "VARIABLE" or password_file = "FILE"',
                '请移除，并写明密码所在：password_env = "变量名" 或 password_file = "文件"',
            ),
        )


def located_from(location: str, folder: Path) -> str:
    """`location` with a relative path (of a file, or of an SQLite database) taken from `folder`."""
    sqlite = _SQLITE.match(location)
    if sqlite:
        scheme, path, options = sqlite.groups()
        if not path or path.startswith(":") or Path(path).is_absolute() or path.startswith("file:"):
            return location
        return f"{scheme}{folder / path}{options}"
    if is_database(location) or Path(location).is_absolute():
        return location
    return str(folder / location)
