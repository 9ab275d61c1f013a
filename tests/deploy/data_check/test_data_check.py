"""`emr-fl data check` as a user meets it: terminal, JSON, page, quarantine; broken files; and no identifier in any of them."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clinic_export import HEADER, clean_rows, text_of, write_export
from emr_fl_deploy.cli import run
from emr_fl_deploy.corpus import synthesise
from emr_fl_deploy.findings import WIDTH, columns_of
from emr_fl_shared.labels import load_taxonomy
from planted import planted

SECRET = "绝密患者甲乙丙"
BASIC = "主诉,诊断编码\n头痛3天,I10.x00\n咳嗽,J06.900\n"


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "federation"
    synthesise(out, sites=4, records=1200, seed=11)
    return out


def sites(federation: Path) -> list[str]:
    return [str(path) for path in sorted((federation / "sites").glob("*.csv"))]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_planted_identifier_appears(
    federation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str
) -> None:
    config = str(federation / "federation.toml")
    page = tmp_path / "page.html"
    assert (
        run(
            ["data", "check", *sites(federation), "--config", config, "--page", str(page), "--lang", language]
        )
        == 0
    )
    shown = capsys.readouterr()
    assert run(["data", "check", *sites(federation), "--config", config, "--json", "--lang", language]) == 0
    as_json = capsys.readouterr()
    secrets = {secret for secret in planted(federation) if len(secret) > 1}
    columns = json.loads((federation / "truth" / "columns.json").read_text(encoding="utf-8"))
    for file, kinds in columns.items():
        raw = (federation / file).read_bytes()
        text = raw.decode("gb18030" if raw[:3] != b"\xef\xbb\xbf" and not _is_utf8(raw) else "utf-8-sig")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            secrets |= {row[header] for header in kinds if len(row[header]) > 2}
    assert len(secrets) > 1000
    for output in (shown.out + shown.err, as_json.out + as_json.err, page.read_text(encoding="utf-8")):
        words = set(re.findall(r"[\w·@.+-]+", output))
        assert not [secret for secret in secrets if secret in words or (len(secret) > 4 and secret in output)]


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_a_clean_sample_site_has_no_false_finding(
    federation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows whose codes the generator made wrong on purpose are taken out; quoted diagnoses are in the texts."""
    wrong = {
        entry["row"]
        for line in (federation / "truth" / "errors.jsonl").read_text(encoding="utf-8").splitlines()
        if (entry := json.loads(line))["file"] == "sites/hospital-a.csv"
    }
    lines = list(
        csv.reader(io.StringIO((federation / "sites/hospital-a.csv").read_text("utf-8-sig"), newline=""))
    )
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([lines[0], *(row for at, row in enumerate(lines[1:]) if at not in wrong)])
    (tmp_path / "a.csv").write_text(buffer.getvalue(), encoding="utf-8")
    assert run(["data", "check", str(tmp_path / "a.csv"), "--json"]) == 0
    found = told(capsys)["files"][0]["findings"]  # type: ignore[index]
    assert {finding["key"] for finding in found if finding["level"] != "ok"} <= {
        "labels.leakage",
        "values.date_future",
    }


@pytest.mark.parametrize("language", ["en", "zh"])
def test_eighty_columns(
    federation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str
) -> None:
    rows = clean_rows()
    rows.append({**rows[0], "性别": "先生", "年龄": "无"})
    path = write_export(tmp_path / "a.csv", rows)
    assert run(["data", "check", str(path), sites(federation)[0], "--lang", language]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert max(columns_of(line) for line in lines if not line.startswith("/")) <= WIDTH
    assert any(line.lstrip().startswith("→ ") for line in lines)


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clean_rows()
    rows[3]["性别"] = "先生"
    rows[5]["主诉"] = rows[5]["现病史"] = ""
    path = write_export(tmp_path / "a.csv", rows)
    assert run(["data", "check", str(path), "--json"]) == 0
    report = told(capsys)
    assert (report["schema"], report["level"], report["across"]) == (1, "warning", [])
    (file,) = report["files"]  # type: ignore[misc]
    assert set(file) == {"file", "level", "source", "labels", "findings", "quarantine"}
    assert (file["source"]["rows"], file["source"]["kept"], file["source"]["skipped"]) == (
        80,
        79,
        {"no_text": 1},
    )
    checksum = load_taxonomy("outpatient-50").checksum
    assert file["labels"] == {"name": "outpatient-50", "version": "1", "count": 50, "sha256": checksum}
    assert file["quarantine"] == {"file": None, "rows": 0}
    assert all(
        set(finding) == {"key", "level", "count", "of", "subject", "seen", "do", "details"}
        for finding in file["findings"]
    )
    keys = [finding["key"] for finding in file["findings"]]
    assert len(keys) == len(set(keys))
    families = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    assert families == ["file", "records", "patients", "values", "contradictions", "labels", "identifiers"]


def test_quarantine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clean_rows()
    rows[5].update({"主诉": "", "现病史": "", "就诊科室": "=HYPERLINK(1)", "初步诊断": "  ＝1；2"})
    path = write_export(tmp_path / "a.csv", rows)
    with path.open("a", encoding="utf-8", newline="") as stream:
        stream.write("@x" + "," * 14 + f"{SECRET}\r\n")
    folder = tmp_path / "kept" / "here"
    assert run(["data", "check", str(path), "--quarantine", str(folder)]) == 0
    shown = capsys.readouterr().out
    target = folder / "a.csv.quarantine.csv"
    assert f"2 rows in {target}" in shown and SECRET not in shown
    assert stat.S_IMODE(target.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    raw = target.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    lines = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert lines[0] == ["row", "reason", *HEADER, "12", "13", "14", "15"]
    assert [line[:2] for line in lines[1:]] == [["7", "no text"], ["82", "more cells than the header"]]
    assert lines[1][5] == "'=HYPERLINK(1)" and lines[1][-1] == "'  ＝1；2" and lines[2][2] == "'@x"
    assert lines[2][-1] == SECRET
    assert [item.name for item in folder.iterdir()] == [target.name]

    before = target.read_bytes()
    assert run(["data", "check", str(path), "--quarantine", str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert target.read_bytes() == before


def test_a_database_of_a_site_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clean_rows()
    rows[3].update({"主诉": "", "现病史": ""})
    with closing(sqlite3.connect(tmp_path / "his.db")) as database:
        database.execute("create table visits (" + ", ".join(f'"{name}" text' for name in HEADER) + ")")
        database.executemany(
            f"insert into visits values ({', '.join('?' * len(HEADER))})",
            [[row[name] for name in HEADER] for row in rows],
        )
        database.commit()
    (tmp_path / "SITE.toml").write_text('source = "sqlite:///his.db"\ntable = "visits"\n', encoding="utf-8")
    folder = tmp_path / "left-out"
    code = run(
        ["data", "check", "--json", "--config", str(tmp_path / "SITE.toml"), "--quarantine", str(folder)]
    )
    assert code == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert file["file"].startswith("sqlite:///") and file["file"].endswith("his.db")
    assert (file["source"]["rows"], file["source"]["kept"]) == (len(rows), len(rows) - 1)
    assert file["quarantine"] == {"file": str(folder / "visits.quarantine.csv"), "rows": 1}


def test_quarantine_of_a_file_without_a_usable_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("主诉,诊断编码\n,I10\n,J06\n", encoding="utf-8")
    assert run(["data", "check", str(path), "--quarantine", str(tmp_path / "q"), "--json"]) == 1
    assert told(capsys)["files"][0]["quarantine"]["rows"] == 2  # type: ignore[index]


def test_nothing_to_quarantine_writes_nothing(tmp_path: Path) -> None:
    path = write_export(tmp_path / "a.csv", clean_rows())
    assert run(["data", "check", str(path), "--quarantine", str(tmp_path / "q")]) == 0
    assert not (tmp_path / "q").exists()


def test_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clean_rows()
    rows.append({**rows[0], "就诊流水号": "9"})
    rows[9]["就诊科室"] = ""
    page = tmp_path / "page.html"
    assert run(["data", "check", str(write_export(tmp_path / "a&b.csv", rows)), "--page", str(page)]) == 0
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text(encoding="utf-8")
    assert text.count("<h1>") == 1 and "a&amp;b.csv" in text and "a&b.csv" not in text
    assert text.count('class="chart"') == 4, "two charts, each for desktop and phone"
    assert "records that are there twice" in text and "完全重复的记录" in text
    assert "default-src 'none'" in text and not re.search(r"https?:|@import|url\((?!#)", text)
    assert ">None<" not in text


def test_columns_labels_and_source_of_a_site_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("ZS,诊断编码\n头痛三天,I10\n咳嗽,J06.9\n", encoding="utf-8")
    (tmp_path / "SITE.toml").write_text(
        'source = "a.csv"\n[columns]\nchief_complaint = "ZS"\n', encoding="utf-8"
    )
    assert run(["data", "check", "--config", str(tmp_path / "SITE.toml"), "--json"]) == 0
    assert told(capsys)["files"][0]["source"]["columns"]["chief_complaint"] == "ZS"  # type: ignore[index]
    assert run(["data", "check", str(tmp_path / "a.csv"), "--json"]) == 1
    assert "no text column" in capsys.readouterr().out
    assert run(["data", "check", str(tmp_path / "a.csv"), "--column", "chief_complaint=ZS"]) == 0


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def null_bytes(path: Path) -> None:
    path.write_bytes(BASIC.encode().replace(b"3", b"\x00"))


def raw(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def lines(change: Callable[[list[str]], object]) -> Callable[[Path], None]:
    """A clean export whose lines are changed."""

    def make(path: Path) -> None:
        text = text_of(clean_rows()).splitlines()
        change(text)
        path.write_text("\n".join(text), encoding="utf-8")

    return make


def everything(text: list[str]) -> None:
    """Each line's defect at once."""
    text[4] += f",{SECRET}"
    text[6] = text[6].rpartition(",")[0]
    text[8] = text[0]
    text[10] = ",,,"
    text[12] = text[11]
    text.insert(0, "某院导出")


BROKEN: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("missing", lambda path: None, 1, "no such file"),
    ("a folder", lambda path: path.mkdir(), 1, "folder"),
    ("empty", raw(b""), 1, "empty"),
    ("blank", raw(b" \n\n\t\n"), 1, "empty"),
    ("binary", binary, 1, "binary"),
    ("null bytes", null_bytes, 1, "null bytes"),
    ("a spreadsheet", raw(b"PK\x03\x04" + b"x" * 99), 1, ""),
    ("header only", raw("主诉,诊断编码\n".encode()), 1, "no row below"),
    ("one column", raw(f"主诉\n头痛\n{SECRET}\n".encode()), 1, "no label column"),
    ("one unknown column", raw(f"甲\n头痛\n{SECRET}\n".encode()), 1, "no text column"),
    ("no header", raw(f"{SECRET},I10\n头痛三天,J06\n".encode()), 1, "no text column"),
    ("mixed encodings", raw(BASIC.encode() + "腹痛,K29\n头痛,I10\n".encode("gb18030")), 1, "mixed encodings"),
    ("neither encoding", raw(b"\xff" + BASIC.encode("gb18030") + b"\x80\xff"), 1, "UTF-8"),
    ("utf-16 cut off", raw(BASIC.encode("utf-16")[:-1]), 1, "utf-16"),
    ("never closed", raw(BASIC.encode() + f'"{SECRET},I10\n咳嗽,J06\n'.encode()), 1, "quotation mark"),
    ("a cell of 200 kB", raw(BASIC.encode() + b'"' + b"x" * 200_000 + b'",I10\n'), 1, "longer than"),
    ("no label in any row", raw(f"主诉,诊断编码\n{SECRET},\n头痛,\n".encode()), 1, "no label"),
    ("no text in any row", raw("主诉,诊断编码\n,I10\n,J06\n".encode()), 1, "none of 2 rows"),
    ("unknown codes only", raw(f"主诉,诊断编码\n头痛,V01\n咳嗽,{SECRET}\n".encode()), 1, "0 of 2 records"),
    ("ragged and repeated", lines(everything), 0, "rows with too many cells"),
    ("headers again and again", lines(lambda text: text.extend([text[0]] * 90)), 1, "more rows are left out"),
]


@pytest.mark.parametrize(
    ("make", "code", "message"), [item[1:] for item in BROKEN], ids=[item[0] for item in BROKEN]
)
def test_broken_exports(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    code: int,
    message: str,
) -> None:
    path = tmp_path / "data" / "export.csv"
    path.parent.mkdir()
    make(path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["data", "check", str(path)]) == code
    shown = capsys.readouterr()
    unwrapped = re.sub(r"\s+", " ", shown.out)
    assert message in unwrapped
    assert code == 0 or "stop" in shown.out
    assert "Traceback" not in shown.out + shown.err and shown.err == ""
    assert SECRET not in shown.out
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"
    assert run(["data", "check", str(path), "--json"]) == code
    report = told(capsys)
    assert SECRET not in json.dumps(report, ensure_ascii=False)
    source = report["files"][0]["source"]  # type: ignore[index]
    assert source is None or source["rows"] == source["kept"] + sum(source["skipped"].values())


def test_one_broken_file_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_export(tmp_path / "good.csv", clean_rows())
    assert run(["data", "check", str(tmp_path / "bad.csv"), str(good), "--json"]) == 1
    assert [file["level"] for file in told(capsys)["files"]] == ["stop", "ok"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no file to check"),
        (["a.csv", "a.csv"], "the same file twice"),
        (["a.csv", "--page", "page.csv"], "ends in .html"),
        (["a.csv", "--quarantine", "a.csv"], "not a folder"),
        (["a.csv", "b/a.csv", "--quarantine", "q"], "the same name"),
        (["a.csv", "--column", "ZS"], "not a column"),
        (["a.csv", "--taxonomy", "none.csv"], "no such label set"),
        (["a.csv", "--config", "none.toml"], "none.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_export(tmp_path / "a.csv", clean_rows(2))
    assert run(["data", "check", *arguments]) == 2
    shown = capsys.readouterr()
    assert re.search(message, shown.err) and shown.out == ""
    assert [item.name for item in tmp_path.iterdir()] == ["a.csv"]


def test_a_page_that_cannot_be_written_leaves_the_report_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_export(tmp_path / "a.csv", clean_rows(2))
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert run(["data", "check", str(path), "--page", str(tmp_path / "file" / "p.html")]) == 1
    shown = capsys.readouterr()
    assert "rows = " in shown.out and "can't be written" in shown.err


def test_the_installed_command(tmp_path: Path) -> None:
    path = write_export(tmp_path / "a.csv", clean_rows(4))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "emr_fl_deploy.cli", "data", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 rows = 8 kept + 0 left out" in done.stdout
