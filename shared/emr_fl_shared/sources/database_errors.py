"""What a database refuses, said without the query's text, a row's value or the driver's message."""

from __future__ import annotations

from sqlalchemy import exc

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr


def refusal(error: Exception, where: str) -> DataError:
    """The error of a database as ours. Only its class, its code and known turns of phrase are looked at, none is shown."""
    original = getattr(error, "orig", None) or error
    code = str(getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None) or "")
    text = str(original).lower()
    message, do = _said(code, text, isinstance(error, exc.OperationalError))
    return DataError(message, where=where, got=code or type(original).__name__, do=do)


def _said(code: str, text: str, operational: bool) -> tuple[str, str]:
    ask = tr("check query or table against the database", "请对照数据库检查 query 或 table")
    if code == "42P01" or "no such table" in text:
        return tr("the database has no such table or view", "数据库中没有这个表或视图"), ask
    if code == "42703" or "no such column" in text:
        return tr("the database has no such column", "数据库中没有这个列"), ask
    if code in ("42601", "42P10") or (code == "SQLITE_ERROR" and ("syntax" in text or "incomplete" in text)):
        return tr("the query is not understood by the database", "数据库无法理解该查询"), ask
    if code == "42501":
        return (
            tr("this user may not read that", "该用户无权读取"),
            tr("grant SELECT on the view to the user", "请授予该用户对视图的 SELECT 权限"),
        )
    if code in ("25006", "SQLITE_READONLY") or "readonly database" in text or "query_only" in text:
        return (
            tr("the query would change the database", "该查询会修改数据库"),
            tr("only reading is allowed", "仅允许读取"),
        )
    if code.startswith("28") or "authentication failed" in text or "no password supplied" in text:
        return (
            tr("the database refuses user or password", "数据库拒绝该用户或密码"),
            tr(
                "check the user in the URL and password_env or password_file",
                "请检查 URL 中的用户以及 password_env 或 password_file",
            ),
        )
    if code == "3D000" or ("database" in text and "does not exist" in text):
        return tr("the server has no such database", "服务器上没有这个数据库"), tr(
            "check the end of the URL", "请检查 URL 末尾的名称"
        )
    if code in ("SQLITE_NOTADB", "SQLITE_CORRUPT") or "not a database" in text or "malformed" in text:
        return tr("this is no SQLite database, or a damaged one", "这不是 SQLite 数据库，或已损坏"), tr(
            "check the file", "请检查该文件"
        )
    if code in ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03") or "database is locked" in text:
        return tr("the database is locked by another program", "数据库被其他程序锁定"), tr(
            "try again later", "请稍后再试"
        )
    if code == "57014":
        return tr("the database stopped the query", "数据库中止了查询"), tr(
            "ask for less, or raise its time limit", "请减少查询量，或提高其时间限制"
        )
    if any(phrase in text for phrase in _UNREACHABLE):
        return (
            tr("the database can't be reached", "无法连接数据库"),
            tr("check host, port and that the server runs", "请检查主机、端口以及服务是否运行"),
        )
    if code.startswith(("08", "57P", "SQLITE_IOERR")) or any(phrase in text for phrase in _LOST):
        return (
            tr("the database went away while it was read", "读取过程中数据库断开"),
            tr("start again when it is back; nothing was kept", "恢复后请重新开始；未保留任何内容"),
        )
    if code == "SQLITE_CANTOPEN" or operational:
        return tr("the database can't be opened or asked", "无法打开或查询数据库"), tr(
            "check that it is there and may be read", "请检查其是否存在并可读取"
        )
    return tr("the database refuses the query", "数据库拒绝该查询"), ask


_UNREACHABLE = (
    "connection refused", "could not translate host", "name or service not known", "timeout expired", "connection timeout",
    "no such file or directory", "failed to resolve host", "network is unreachable", "no route to host", "temporary failure in name",
)  # fmt: skip
_LOST = (
    "server closed the connection", "terminating connection", "connection is closed", "connection reset", "connection is lost",
    "consuming input failed", "ssl connection has been closed", "could not receive data",
)  # fmt: skip
