"""`emr-fl client check` without a server: every line with its remedy, and nothing of a record in any."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from emr_fl_client.dataset.ledger import FOLDER, LEDGER, SplitLedger
from emr_fl_client.join.check import Finding, check
from emr_fl_client.join.place import Places
from emr_fl_deploy.cli import run

NOTES = [
    "咳嗽三天，伴发热，电话13912345678。",
    "王小明，头痛两天，身份证110101199003077758。",
    "腹痛一周，无腹泻。",
]
CODES = ["J20.9", "G44.2", "K52.9"]


def write(kit: Path, header: list[str], rows: list[list[str]]) -> None:
    with (kit / "records.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def found(kit: Path, taxonomy: str | None = None) -> dict[str, Finding]:
    findings = list(check(Places("hospital-a", kit), taxonomy=taxonomy, network=False))
    for finding in findings:
        assert finding.level == "ok" or finding.do or "expected" in finding.seen, "each with its remedy"
    return {finding.subject: finding for finding in findings}


def levels(kit: Path, taxonomy: str | None = None) -> dict[str, str]:
    """The levels of what does not depend on this machine."""
    own = {"kit", "kit and settings", "records", "labels", "identifiers removed", "policy"}
    return {name: finding.level for name, finding in found(kit, taxonomy).items() if name in own}


GOOD = {"kit": "ok", "records": "ok", "labels": "ok", "identifiers removed": "ok", "policy": "ok"}


def test_good_data_with_a_label_column(kit: Path) -> None:
    assert levels(kit) == GOOD
    findings = found(kit)
    assert "60 of 60 records have a label, 3 names; 0 names" in findings["labels"].seen
    assert findings["folder of the site's state"].level != "stop" and "server" not in findings
    assert not (kit / "state" / ".probe").exists()


def test_codes_are_checked_against_the_built_in_labels(kit: Path) -> None:
    write(kit, ["主诉", "诊断编码"], [[note, code] for note, code in zip(NOTES, CODES, strict=True)])
    assert levels(kit) == GOOD
    assert "100% of the records have a label of outpatient-50; 3 of 50" in found(kit)["labels"].seen


@pytest.mark.parametrize(
    ("known", "level"), [(0, "stop"), (3, "warning"), (8, "warning"), (9, "ok")], ids=lambda value: str(value)
)
def test_how_many_codes_are_understood(kit: Path, known: int, level: str) -> None:
    rows = [[NOTES[0] + str(n), "J20.9" if n < known else "不明编码"] for n in range(10)]
    write(kit, ["主诉", "诊断编码"], rows)
    assert levels(kit) == {**GOOD, "labels": level}
    assert f"{known}0%" in found(kit)["labels"].seen or known == 0


@pytest.mark.parametrize("column", ["诊断编码", "labels"])
def test_rows_without_a_label_are_counted(kit: Path, column: str) -> None:
    write(kit, ["主诉", column], [[NOTES[0] + str(n), "J20.9" if n < 3 else ""] for n in range(10)])
    assert levels(kit) == {**GOOD, "records": "warning"}
    assert found(kit)["records"].seen == "3 read; no_label 7"


STOPPED = {"kit": "ok", "records": "stop", "policy": "ok"}


@pytest.mark.parametrize(
    ("header", "more"),
    [
        pytest.param(["主诉"], [], id="no column"),
        pytest.param(["主诉", "labels"], [""], id="empty labels"),
        pytest.param(["主诉", "诊断编码"], [""], id="empty codes"),
    ],
)
def test_no_labels(kit: Path, header: list[str], more: list[str]) -> None:
    write(kit, header, [[note, *more] for note in NOTES])
    assert levels(kit) == levels(kit, "column") == STOPPED
    assert "label" in found(kit)["records"].seen


def test_codes_where_names_are_expected(kit: Path) -> None:
    write(kit, ["主诉", "诊断编码"], [[note, code] for note, code in zip(NOTES, CODES, strict=True)])
    assert levels(kit, "column") == {**GOOD, "labels": "stop"}


def test_rare_names_are_counted_not_named(kit: Path) -> None:
    rows = [[NOTES[0] + str(n), "罕见病" if n == 0 else "呼吸"] for n in range(10)]
    write(kit, ["主诉", "labels"], rows)
    seen = found(kit)["labels"].seen
    assert "2 names; 1 names with fewer than 5" in seen and "罕见病" not in seen


@pytest.mark.parametrize("taxonomy", ["column", "outpatient-50", "none.csv"])
def test_a_taxonomy_to_check_against(kit: Path, taxonomy: str) -> None:
    level = {"column": "ok", "outpatient-50": "stop", "none.csv": "stop"}[taxonomy]
    assert levels(kit, taxonomy) == {**GOOD, "labels": level}


@pytest.mark.parametrize("how", ["missing", "folder", "empty"])
def test_an_export_that_is_not_there(kit: Path, how: str) -> None:
    path = kit / "records.csv"
    path.unlink()
    if how == "folder":
        path.mkdir()
    if how == "empty":
        path.touch()
    assert levels(kit) == STOPPED


@pytest.mark.parametrize(
    ("policy", "level", "words"),
    [
        ("", "ok", "of 450 planted identifiers found"),
        ("deidentification_names = 1.0", "stop", "names 0."),
        ("deidentification_recall = 0\ndeidentification_names = 0", "warning", "no policy asks"),
    ],
)
def test_the_site_measures_its_own_de_identification(kit: Path, policy: str, level: str, words: str) -> None:
    settings = (kit / "SITE.toml").read_text(encoding="utf-8")
    assert "[policy]\n" in settings
    settings = settings.replace("[policy]\n", f"[policy]\n{policy}\n")
    (kit / "SITE.toml").write_text(settings, encoding="utf-8")
    finding = found(kit)["de-identification"]
    assert finding.level == level and words in finding.seen
    assert bool(finding.do) == (level != "ok")


def test_a_roster_that_is_not_there_stops(kit: Path) -> None:
    settings = (kit / "SITE.toml").read_text(encoding="utf-8")
    (kit / "SITE.toml").write_text('roster = "staff.txt"\n' + settings, encoding="utf-8")
    assert found(kit)["de-identification"].level == "stop"


def test_a_key_that_others_can_read_stops_its_line_only(kit: Path) -> None:
    Places("hospital-a", kit).open().pseudonym_key()
    (kit / "state" / "pseudonym.key").chmod(0o644)
    findings = found(kit)
    assert findings["folder of the site's state"].level == "stop"
    assert "chmod 600" in findings["folder of the site's state"].do
    assert findings["labels"].level == findings["policy"].level == "ok"


def test_a_damaged_split_ledger_stops_its_line_only(kit: Path) -> None:
    place = Places("hospital-a", kit).open()
    SplitLedger(place.state / FOLDER, place.pseudonym_key()).write({"0" * 32: True})
    assert found(kit)["folder of the site's state"].level in ("ok", "warning")
    path = place.state / FOLDER / LEDGER
    path.write_bytes(path.read_bytes()[:-1])
    findings = found(kit)
    assert findings["folder of the site's state"].level == "stop"
    assert "split ledger" in findings["folder of the site's state"].seen
    assert "backup" in findings["folder of the site's state"].do
    assert findings["labels"].level == "ok"


def test_every_wrong_setting_is_named(kit: Path) -> None:
    (kit / "SITE.toml").write_text("suorce = 1\n[policy]\nsmallest_count = 0\n")
    findings = [
        finding
        for finding in check(Places("hospital-a", kit), network=False)
        if finding.subject == "kit and settings"
    ]
    assert {finding.level for finding in findings} == {"stop"}
    seen = "\n".join(finding.seen for finding in findings)
    assert all(word in seen for word in ("suorce", "smallest_count", "SITE.toml"))


def test_no_value_of_a_record_in_any_line(
    kit: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        [note, code, name] for note, code, name in zip(NOTES, CODES, ("甲病", "乙病", "丙病"), strict=True)
    ]
    rows += [["", "坏编码", "丁病"], [NOTES[0], "X", ""]]
    write(kit, ["主诉", "诊断编码", "labels"], rows)
    monkeypatch.setenv("EMR_FL_LANG", "zh")
    for more in ([], ["--taxonomy", "outpatient-50"], ["--json"]):
        run(["client", "check", "--site", "hospital-a", "--kit", str(kit), "--offline", *more])
    shown = "".join(capsys.readouterr())
    assert "3.11" in shown or "3.12" in shown
    for secret in ("13912345678", "110101199003077758", "王小明", "咳嗽", "头痛", "腹痛", "坏编码", *CODES):
        assert secret not in shown
    assert not any(name in shown for name in ("甲病", "乙病", "丙病", "丁病"))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [pytest.param(False, 0, id="good"), pytest.param(True, 1, id="no export")],
)
def test_exit_code_and_json(kit: Path, capsys: pytest.CaptureFixture[str], spoil: bool, code: int) -> None:
    if spoil:
        (kit / "records.csv").unlink()
    arguments = ["client", "check", "--site", "hospital-a", "--kit", str(kit), "--offline"]
    assert run(arguments) == code
    text = capsys.readouterr()
    assert text.err == "" and ("stop     records" in text.out) == spoil
    assert run([*arguments, "--json"]) == code
    parsed = json.loads(capsys.readouterr().out)
    assert all(set(line) == {"subject", "level", "seen", "do"} for line in parsed)
    assert ("stop" in {line["level"] for line in parsed}) == spoil


def test_without_a_kit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["client", "check", "--site", "hospital-a", "--kit", str(tmp_path), "--offline", "--json"]
    assert run(arguments) == 1
    assert json.loads(capsys.readouterr().out)[-1]["level"] == "stop"
