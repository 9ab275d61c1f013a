"""Records from a database: one query or view, read in a transaction that only reads, a thousand rows at a time.

SQLite and PostgreSQL are tested; any other dialect of SQLAlchemy is used as its driver allows. An error says what is wrong and
never what the query, a row or the driver's message holds.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from emr_fl_shared.errors import DataError, PolicyError, SettingsError
from emr_fl_shared.messages import tr
from emr_fl_shared.sources.database_errors import refusal
from emr_fl_shared.sources.source import Source, check_url
from emr_fl_shared.sources.tabular import Row, Table
from emr_fl_shared.sources.values import value_text

AT_ONCE = 1000
CONNECT_SECONDS = 10
_COMMENTS = re.compile(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()*", re.DOTALL)
_READS = re.compile(r"(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
# A server that is gone is noticed after a minute, not after the two hours of the operating system.
_POSTGRESQL = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "emr-fl",
}


def read_database(source: Source) -> Table:
    """The table that `source.query`, or all of `source.table`, gives; columns are named as the database names them.

    Raises `SettingsError` for a URL that holds a password or can't be read, for both or neither of query and table, for a query
    that is no SELECT and for a password that is not where it should be; `PolicyError` for a password file that others can read;
    `DataError` for whatever the database refuses, also in the middle.
    """
    check_url(source.location)
    if bool(source.query) == bool(source.table):
        raise SettingsError(
            tr("a database needs a query or a table, one of the two", "数据库需要 query 或 table 之一"),
            where=str(source),
            do='table = "v_visits"',
        )
    engine = _engine(source)
    statement = _statement(source, engine)
    rows = _rows(source, engine, statement)
    header = next(rows)  # connects and asks, so that a refusal comes before anything is done with the records
    repaired: Counter[str] = Counter()
    numbered = (
        Row(number, [value_text(value, repaired) for value in values])
        for number, values in enumerate(rows, 1)
    )
    return Table(str(source), "sql", tuple(str(name) for name in header), numbered, repaired=repaired)


def _engine(source: Source) -> sqlalchemy.Engine:
    try:
        url = sqlalchemy.make_url(source.location)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        dialect = url.get_backend_name()
        arguments: dict[str, Any] = {}
        if dialect == "sqlite":
            url = _read_only_sqlite(source, url)
        else:
            password = _password(source)
            if password is not None:
                url = url.set(password=password)
            if url.drivername == "postgresql+psycopg":
                arguments = {key: value for key, value in _POSTGRESQL.items() if key not in url.query}
        engine = sqlalchemy.create_engine(
            url, poolclass=NullPool, hide_parameters=True, connect_args=arguments
        )
    except (exc.NoSuchModuleError, ModuleNotFoundError):
        raise SettingsError(
            tr("no driver for this kind of database is installed", "未安装该类数据库的驱动"),
            where=str(source),
            expected="sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME",
        ) from None
    except (exc.ArgumentError, ValueError, TypeError):
        raise SettingsError(
            tr("the URL of the database can't be read", "数据库 URL 无法解析"),
            where="source",
            expected="sqlite:///FILE, postgresql+psycopg://USER@HOST/NAME",
        ) from None
    if dialect == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON"))
    return engine


def _read_only_sqlite(source: Source, url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Opened read-only, so that a wrong name does not make an empty database."""
    database = url.database or ""
    if not database or database.startswith((":memory:", "file:")):
        raise SettingsError(
            tr("an SQLite source is a file", "SQLite 来源应为文件"),
            where=str(source),
            expected="sqlite:///FILE",
        )
    path = Path(database)
    if not path.is_file():
        raise DataError(
            tr("no such file", "文件不存在"),
            where=str(source),
            do=tr(
                "check the path; it is relative to the settings file", "请检查路径；它相对于设置文件所在目录"
            ),
        )
    return url.set(database=path.absolute().as_uri(), query={"mode": "ro", "uri": "true"})


def _password(source: Source) -> str | None:
    if source.password_env:
        password = os.environ.get(source.password_env)
        if password is None:
            raise SettingsError(
                tr("the variable with the database's password is not set", "未设置保存数据库密码的环境变量"),
                where=f"password_env = {source.password_env}",
                do=tr("set it for this program", "请为本程序设置该变量"),
            )
        return password
    if not source.password_file:
        return None
    path = Path(source.password_file)
    try:
        if path.stat().st_mode & 0o077:
            raise PolicyError(
                tr("others can read the database's password", "数据库密码可被他人读取"),
                where=str(path),
                expected="0600",
                do=f"chmod 600 {path}",
            )
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            tr("the file with the database's password can't be read", "数据库密码文件无法读取"),
            where=f"password_file = {path}",
            got=(error.strerror or "") if isinstance(error, OSError) else "",
        ) from None


def _statement(source: Source, engine: sqlalchemy.Engine) -> str:
    if source.table:
        schema, _, name = source.table.rpartition(".")
        table = sqlalchemy.table(name, schema=schema or None)
        everything: sqlalchemy.ColumnElement[Any] = sqlalchemy.literal_column("*")
        return str(sqlalchemy.select(everything).select_from(table).compile(engine))
    query = source.query.strip().rstrip(";").rstrip()
    comments = _COMMENTS.match(query)
    if not _READS.match(query, comments.end() if comments else 0):
        raise SettingsError(
            tr("the query does not begin with SELECT or WITH", "查询不是以 SELECT 或 WITH 开头"),
            where="query",
            do=tr("only reading is allowed: SELECT … FROM …", "仅允许读取：SELECT … FROM …"),
        )
    return query


def _rows(source: Source, engine: sqlalchemy.Engine, statement: str) -> Iterator[Any]:
    """The names of the columns, then the rows."""
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection = connection.execution_options(postgresql_readonly=True)
            connection = connection.execution_options(yield_per=AT_ONCE, no_parameters=True)
            result = connection.exec_driver_sql(statement)
            yield tuple(result.keys())
            yield from result
    except Exception as error:  # drivers have errors of their own that SQLAlchemy lets through
        raise refusal(error, str(source)) from None
    finally:
        engine.dispose()
