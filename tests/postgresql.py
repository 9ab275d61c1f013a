"""A real PostgreSQL server of the machine's own packages, started for the tests and stopped after them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

PASSWORD = "pg-geheim-7431"
"""Of the users that the server knows; tests look for it in every message."""
MISSING = "no PostgreSQL server here (initdb is neither in PATH nor in /usr/lib/postgresql): make setup-ci installs it"


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest version first."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True
    )
    return installed[0].parent if installed else None


@dataclass(frozen=True)
class Server:
    """A server that listens on loopback; `reader` may only read what it is granted."""

    port: int
    process: subprocess.Popen[bytes]

    def url(self, user: str = "reader", database: str = "his") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "his") -> None:
        """Run statements as the owner of everything."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="owner",
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        ) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def running() -> Iterator[Server]:
    """A server with an empty database `his`, its files in a folder of its own. PostgreSQL refuses to run as root."""
    folder = binaries()
    assert folder is not None, MISSING
    user = _user()
    home = Path(tempfile.mkdtemp(prefix="emr-fl-pg-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        secret = home / "password"
        secret.write_text(PASSWORD)
        if user is not None:
            account = pwd.getpwnam(user)
            for path in (home, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [folder / "initdb", "-D", home / "data", "-U", "owner", "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "-N"],
            check=True, capture_output=True, cwd="/", env=environment, **as_user,
        )  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [folder / "postgres", "-D", home / "data", "-k", home, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", env=environment, **as_user,
        )  # fmt: skip
        server = Server(port, process)
        _wait(server)
        server.run("CREATE DATABASE his", database="postgres")
        server.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGQUIT)  # immediate shutdown
            process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _user() -> str | None:
    """Whom the server runs as: ourselves, or where we are root the packages' own user, or nobody."""
    if os.geteuid() != 0:
        return None
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _wait(server: Server) -> None:
    for _ in range(300):
        try:
            server.run("SELECT 1", database="postgres")
            return
        except psycopg.OperationalError:
            if server.process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError("PostgreSQL did not start")
