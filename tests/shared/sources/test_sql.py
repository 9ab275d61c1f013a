"""Databases: SQLite and a real PostgreSQL server; what they refuse is said without a query, a row or a password."""

from __future__ import annotations

import logging
import socket
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgresql
from emr_fl_shared.config.loading import load_site_settings, settings_from
from emr_fl_shared.errors import DataError, EmrFlError, PolicyError, SettingsError, UsageError
from emr_fl_shared.sources import Source, iter_records, read_headers, read_records
from emr_fl_shared.sources.database import AT_ONCE

SECRET = "绝密患者甲乙丙"
PASSWORD = postgresql.PASSWORD
COLUMNS = "患者ID TEXT, 就诊日期 TEXT, 主诉 TEXT, 标签 TEXT"


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    for word in (SECRET, PASSWORD):
        assert word not in caplog.text


def refused(source: Source, kind: type[EmrFlError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read_records(source)
    shown = "".join(traceback.format_exception(caught.value))  # what --debug shows
    assert SECRET not in shown and PASSWORD not in shown
    return str(caught.value)


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    path = tmp_path / "visits.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE visits ({COLUMNS})")
        connection.executemany(
            "INSERT INTO visits VALUES (?, ?, ?, ?)",
            [("0001163476", "2026-03-01", f"咳{number}", "x；y") for number in range(5000)],
        )
        connection.execute("CREATE VIEW v_visits AS SELECT * FROM visits WHERE 主诉 <> '咳7'")
    connection.close()
    return path


def test_a_table_a_view_and_a_query(visits: Path) -> None:
    url = f"sqlite:///{visits}"
    records, report = read_records(Source(url, table="visits"))
    assert (len(records), report.format, report.file) == (5000, "sql", "visits.db")
    assert (records[7].patient_id, records[7].labels, records[7].record_id) == ("0001163476", ("x", "y"), "8")
    assert len(read_records(Source(url, table="v_visits"))[0]) == 4999
    assert len(read_records(Source(url, table="main.visits"))[0]) == 5000
    source = Source(
        url,
        query="-- what we want\nSELECT 主诉 AS ZS, 标签 FROM visits WHERE 主诉 = '咳3' OR 主诉 LIKE ':a %s%%';",
    )
    records, _ = read_records(source, {"chief_complaint": "ZS"})
    assert [record.chief_complaint for record in records] == ["咳3"]
    assert read_headers(source) == ("ZS", "标签")


def test_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (患者ID INTEGER, 年龄 REAL, 主诉 TEXT, 现病史 BLOB, 标签 TEXT)")
        connection.execute(
            "INSERT INTO t VALUES (110101199003077512, 45.0, '咳' || char(0) || '嗽', x'FF', 'x')"
        )
    connection.close()
    (record,), report = read_records(Source(f"sqlite:///{path}", table="t"))
    assert (record.patient_id, record.age, record.chief_complaint) == ("110101199003077512", "45", "咳嗽")
    assert record.present_illness == ""
    assert report.repaired == {"null_characters": 1, "binary_value": 1}


def test_the_first_record_comes_before_the_last_row_is_read(visits: Path) -> None:
    records, report = iter_records(Source(f"sqlite:///{visits}", table="visits"))
    next(records)
    assert report.rows == 1
    assert len(list(records)) == 4999


@pytest.mark.parametrize(
    ("query", "kind", "says"),
    [
        (f"SELECT * FROM visits WHERE 主诉 = '{SECRET}' LIMT 3", DataError, "not understood"),
        (f"SELECT {SECRET} FROM visits", DataError, "no such column"),
        (f'SELECT * FROM "{SECRET}"', DataError, "no such table"),
        ("SELECT * FROM visits WHERE 0", DataError, "no row below"),
        (f"DELETE FROM visits WHERE 主诉 = '{SECRET}'", SettingsError, "SELECT or WITH"),
        ("/* SELECT */ DROP TABLE visits", SettingsError, "SELECT or WITH"),
        ("WITH a AS (SELECT 1) DELETE FROM visits", DataError, "would change the database"),
        (f"SELECT 1; DELETE FROM visits WHERE 主诉 = '{SECRET}'", DataError, "database"),
        ("SELECT 1 AS 主诉", DataError, "no label column"),
    ],
    ids=["syntax", "column", "table", "no-row", "delete", "comment", "with-delete", "two", "no-label"],
)
def test_wrong_queries(visits: Path, query: str, kind: type[EmrFlError], says: str) -> None:
    before = visits.read_bytes()
    assert says in refused(Source(f"sqlite:///{visits}", query=query), kind)
    assert visits.read_bytes() == before


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    assert "no such file" in refused(Source(f"sqlite:///{path}", table="t"))
    assert not path.exists()
    assert "SQLite source is a file" in refused(Source("sqlite://", table="t"), SettingsError)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text(SECRET * 2000)
    assert "no SQLite database" in refused(Source(f"sqlite:///{path}", table="t"))


def test_an_sqlite_file_that_is_cut_off_while_it_is_read(visits: Path) -> None:
    size = visits.stat().st_size
    records, _ = iter_records(Source(f"sqlite:///{visits}", table="visits"))
    next(records)
    with visits.open("r+b") as stream:
        stream.truncate(size // 8 // 4096 * 4096)
    with pytest.raises(DataError) as caught:
        list(records)
    assert "damaged" in str(caught.value) or "went away" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://reader:{PASSWORD}@db.local/his",
        f"postgresql://reader:{PASSWORD}@@db.local/his",
        f"postgresql://db.local/his?user=reader&password={PASSWORD}",
        f"postgresql://db.local/his?sslmode=require&PassWord={PASSWORD}",
        f"postgresql://db.local/his?pass%77ord={PASSWORD}",
        f"mysql://root:{PASSWORD}@h",
    ],
)
def test_a_password_in_the_url_is_refused_and_never_shown(tmp_path: Path, url: str) -> None:
    assert "password stands in the URL" in refused(Source(url, table="t"), SettingsError)
    assert PASSWORD not in str(Source(url)) and PASSWORD not in str(Source("x://" + url))
    for more in ({}, {"columns": 3}, {"unknown": 1}):
        with pytest.raises(SettingsError) as caught:
            settings_from({"sites": {"a": {"source": url, "table": "t", **more}}}, where="federation.toml")
        assert PASSWORD not in str(caught.value) and "sites.a" in str(caught.value)
    file = tmp_path / "SITE.toml"
    file.write_text(f'source = "{url}"\ntable = "t"\n')
    with pytest.raises(SettingsError) as caught:
        load_site_settings(file)
    assert PASSWORD not in str(caught.value) and "password_env" in str(caught.value)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"source": "sqlite:///a.db"}, "query or table"),
        ({"source": "sqlite:///a.db", "table": "t", "query": "SELECT 1"}, "query or table"),
        ({"source": "a.csv", "table": "t"}, "table is for a database"),
        ({"source": "a.csv", "password_env": "X"}, "password_env is for a database"),
        ({"source": "sqlite:///a.db", "table": "t", "sheet": "s"}, "sheet is for a workbook"),
        ({"source": "pg://h/d", "table": "t", "password_env": "A", "password_file": "b"}, "one of the two"),
    ],
)
def test_settings_that_contradict_themselves(block: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from({"sites": {"a": block}})
    assert says in str(caught.value) and "sites.a" in str(caught.value)


def test_a_held_out_set_is_a_file() -> None:
    with pytest.raises(SettingsError, match=r"evaluation\.sets\.standard"):
        settings_from({"evaluation": {"sets": {"standard": "sqlite:///a.db"}}})


def test_query_and_table_are_not_for_files(tmp_path: Path) -> None:
    assert "this is a file" in refused(Source(str(tmp_path / "a.csv"), table="t"), UsageError)
    (tmp_path / "a.csv").write_text("主诉,标签\n咳,x\n", encoding="utf-8")
    assert "sheet is for a workbook" in refused(Source(str(tmp_path / "a.csv"), sheet="s"), UsageError)


def test_relative_paths_are_those_of_the_settings_file(tmp_path: Path, visits: Path) -> None:
    file = tmp_path / "SITE.toml"
    file.write_text('source = "sqlite:///visits.db"\ntable = "visits"\npassword_file = "pw"\n')
    site = load_site_settings(file)
    assert site.records_source() == Source(
        f"sqlite:///{visits}", table="visits", password_file=str(tmp_path / "pw")
    )
    assert len(read_records(site.records_source())[0]) == 5000
    moved = settings_from(
        {
            "sites": {
                "a": {"source": "sqlite:///d/a.db", "table": "t"},
                "b": {"source": "postgresql://h/d", "table": "t"},
            }
        }
    ).with_paths_from(tmp_path)
    assert moved.sites["a"].source == f"sqlite:///{tmp_path}/d/a.db"
    assert moved.sites["b"].source == "postgresql://h/d"


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    message = refused(Source(f"postgresql://reader@127.0.0.1:{port}/his", table="t"))
    assert "can't be reached" in message and f"127.0.0.1:{port}" in message


def test_a_server_that_does_not_speak_postgresql() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        message = refused(Source(f"postgresql://reader@127.0.0.1:{port}/his?sslmode=disable", table="t"))
        thread.join(10)
    assert "went away" in message or "can't be" in message


@pytest.mark.parametrize("url", ["foo://h/d", "oracle+oracledb://h/d", "mssql+pyodbc://h/d"])
def test_a_driver_that_is_not_installed(url: str) -> None:
    assert "no driver" in refused(Source(url, table="t"), SettingsError)


def test_where_the_password_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIS_PASSWORD", raising=False)
    url = "postgresql://reader@127.0.0.1:1/his"
    message = refused(Source(url, table="t", password_env="HIS_PASSWORD"), SettingsError)
    assert "HIS_PASSWORD" in message
    path = tmp_path / "pw"
    assert "can't be read" in refused(Source(url, table="t", password_file=str(path)), SettingsError)
    path.write_text(PASSWORD)
    path.chmod(0o644)
    assert "chmod 600" in refused(Source(url, table="t", password_file=str(path)), PolicyError)


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.Server]:
    if postgresql.binaries() is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running() as started:
        started.run(
            "CREATE TABLE visits (患者ID bigint, 就诊日期 timestamp, 年龄 numeric(5, 2), 主诉 text, 标签 text[], 照片 bytea)",
            "INSERT INTO visits SELECT 110101199003077512 + n, '2026-03-01', 45.50, '咳' || n, ARRAY['胃炎、胃溃疡', 'y'], "
            "'\\xff' FROM generate_series(1, 20000) n",
            "CREATE TABLE closed (主诉 text)",
            "CREATE SEQUENCE counter",
            "CREATE VIEW v_visits AS SELECT * FROM visits",
            "GRANT SELECT ON visits, v_visits TO reader",
            "GRANT USAGE ON counter TO reader",
            f"CREATE VIEW broken AS SELECT '{SECRET}'::text AS 主诉, (n || '{SECRET}')::int AS 标签 FROM generate_series(1, 5) n",
            "GRANT SELECT ON broken TO reader",
        )
        yield started


@pytest.fixture
def database(server: postgresql.Server, monkeypatch: pytest.MonkeyPatch) -> postgresql.Server:
    monkeypatch.setenv("HIS_PASSWORD", PASSWORD)
    return server


def source(server: postgresql.Server, **asked: str) -> Source:
    return Source(server.url(), password_env="HIS_PASSWORD", **asked)


def test_postgresql_types(database: postgresql.Server) -> None:
    records, report = read_records(source(database, table="public.v_visits"))
    assert (len(records), report.file, report.format) == (20000, "his", "sql")
    assert records[0].patient_id == "110101199003077513"
    assert (records[0].visit_date, records[0].age) == ("2026-03-01", "45.50")
    assert records[0].labels == ("胃炎、胃溃疡", "y")
    assert report.repaired == {"binary_value": 20000}


def test_postgresql_password_from_a_file(database: postgresql.Server, tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    asked = Source(
        database.url(),
        query="SELECT 主诉, 标签 FROM visits WHERE 主诉 LIKE '%咳1_:x%' OR 主诉 = '咳5';",
        password_file=str(path),
    )
    assert len(read_records(asked)[0]) == 1


def test_postgresql_refuses_user_password_and_database(
    database: postgresql.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such database" in refused(
        Source(database.url(database="none"), table="t", password_env="HIS_PASSWORD")
    )
    assert "user or password" in refused(Source(database.url(), table="visits"))
    monkeypatch.setenv("HIS_PASSWORD", PASSWORD + "x")
    assert "user or password" in refused(source(database, table="visits"))
    assert "user or password" in refused(
        Source(database.url(user="nobody"), table="visits", password_env="HIS_PASSWORD")
    )


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (f"SELECT * FROM visits WHERE 主诉 = '{SECRET}' LIMT 3", "not understood"),
        (f'SELECT "{SECRET}" FROM visits', "no such column"),
        (f'SELECT * FROM "{SECRET}"', "no such table"),
        ("SELECT * FROM closed", "may not read"),
        ("SELECT 主诉, 标签, nextval('counter') FROM visits", "would change the database"),
        ("WITH gone AS (DELETE FROM visits RETURNING 主诉) SELECT * FROM gone", "database"),
        ("SELECT * FROM broken", "refuses the query"),
        (f"SELECT '{SECRET}'::int", "refuses the query"),
    ],
    ids=["syntax", "column", "table", "grant", "writes", "with-delete", "a-row-that-fails", "literal"],
)  # fmt: skip
def test_postgresql_refuses_queries(database: postgresql.Server, query: str, says: str) -> None:
    assert says in refused(source(database, query=query))


def test_postgresql_connection_that_goes_away_in_the_middle(database: postgresql.Server) -> None:
    records, report = iter_records(source(database, table="visits"))
    next(records)
    database.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'emr-fl' AND usename = 'reader'"
    )
    with pytest.raises(DataError, match="went away") as caught:
        list(records)
    assert report.rows <= 2 * AT_ONCE, "rows come in pieces"
    assert caught.value.exit_code == 1 and "咳" not in str(caught.value)


def test_postgresql_leaves_no_connection_behind(database: postgresql.Server) -> None:
    records, _ = iter_records(source(database, table="visits"))
    next(records)
    records.close()
    read_records(source(database, query="SELECT 主诉, 标签 FROM visits LIMIT 3"))
    database.run(
        "DO $$ BEGIN FOR i IN 1..50 LOOP PERFORM pg_stat_clear_snapshot(); "
        "EXIT WHEN (SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader') = 0; PERFORM pg_sleep(0.1); END LOOP; "
        "IF (SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader') > 0 THEN RAISE 'connections are left'; END IF; END $$"
    )
