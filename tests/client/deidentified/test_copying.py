"""`emr-fl data deidentify`: a copy without identifiers, with a report that holds none, or one clear refusal and no copy."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from emr_fl_deploy.cli import run
from emr_fl_shared.deidentify import KINDS
from emr_fl_shared.sources import read_records

HEADER = [
    "病历号",
    "患者ID",
    "就诊日期",
    "科室",
    "性别",
    "年龄",
    "姓名",
    "手机号",
    "主诉",
    "现病史",
    "诊断编码",
    "诊断",
]
NOTES = {
    "PATIENT_NAME": ("患者{}反复咳嗽", "欧阳建国"),
    "RELATIVE_NAME": ("其子{}陪同", "李文博"),
    "STAFF_NAME": ("已请{}看过", "欧文博"),
    "HOSPITAL": ("曾在{}住院", "济州市第一人民医院"),
    "DEPARTMENT": ("转入{}", "心内科二病区"),
    "BED_NUM": ("现住{}", "37床"),
    "VISIT_NUM": ("门诊号：{}", "MZ99887766"),
    "RECORD_NUM": ("住院号：{}", "ZY55443322"),
    "EXAM_NUM": ("CT号：{}", "CT20117788"),
    "ID_CARD": ("身份证号：{}", "370811197503054321"),
    "PERMIT": ("通行证号：{}", "H10293847"),
    "PASSPORT": ("护照号：{}", "E55667788"),
    "PHONE": ("联系电话：{}", "15812344321"),
    "ADDRESS": ("家住{}", "山东省济宁市任城区建设路188号"),
    "INSURANCE_NUM": ("医保卡号：{}", "A123123123"),
    "BANK_CARD": ("银行卡号：{}", "6217001234567890123"),
    "PLATE": ("车牌号：{}", "鲁H33445"),
    "EMAIL": ("邮箱：{}", "someone77@example.cn"),
    "QQ": ("QQ号：{}", "287654321"),
    "WECHAT": ("微信号：{}", "wxid_77889900"),
    "EMPLOYER": ("就职于{}", "华兴纺织有限公司"),
    "SCHOOL": ("就读于{}", "育才实验小学"),
    "DATE": ("于{}起病", "2024-02-29"),
    "AGE90": ("其母{}健在", "97岁"),
}
ROWS = 60


def rows() -> list[list[str]]:
    kinds = list(NOTES)
    found = []
    for n in range(ROWS):
        phrase, value = NOTES[kinds[n % len(kinds)]]
        found.append(
            [
                f"R{n:07d}", f"P{n // 2:07d}", f"2024-03-{n // 2 % 28 + 1:02d}", "心内科", "男", str(30 + n), "上官飞燕", "13911112222",
                "咳嗽3天", f"{phrase.format(value)}。双肺呼吸音粗，{n}次。上官飞燕诉胸闷。", "J20.900", "急性支气管炎（上官飞燕）",
            ]
        )  # fmt: skip
    return found


def planted() -> set[str]:
    return {value for _, value in NOTES.values()} | {"上官飞燕", "13911112222", "R0000007", "P0000003"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *rows()])
    (tmp_path / "staff.txt").write_text("欧文博\n", encoding="utf-8")
    (tmp_path / "SITE.toml").write_text('source = "in.csv"\nroster = "staff.txt"\n', encoding="utf-8")
    return tmp_path


def clean(place: Path, *more: str) -> int:
    arguments = ["data", "deidentify", str(place / "in.csv"), "--out", str(place / "out.csv"), *more]
    return run(arguments)


def read(path: Path) -> list[dict[str, str]]:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def report_of(place: Path) -> dict[str, Any]:
    return dict(json.loads((place / "r.json").read_text("utf-8")))


def all_files(place: Path) -> list[str]:
    return [
        "--config", str(place / "SITE.toml"), "--report", str(place / "r.json"), "--audit-list", str(place / "a.csv"),
    ]  # fmt: skip


def test_every_kind_is_planted() -> None:
    assert set(NOTES) == set(KINDS)


def test_nothing_planted_is_in_any_output(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    assert clean(place, *all_files(place)) == 0
    (place / "page").mkdir()
    assert run(
        ["data", "deidentify", str(place / "in.csv"), "--out", str(place / "page/out.csv"), "--roster", str(place / "staff.txt"),
         "--report", str(place / "page/r.html")]
    ) == 0  # fmt: skip
    written = [
        path for path in place.rglob("*") if path.is_file() and path.name not in ("in.csv", "staff.txt")
    ]
    assert {path.name for path in written} >= {"out.csv", "r.json", "r.html", "a.csv", "pseudonym.key"}
    everything = "".join(path.read_bytes().decode("utf-8", "replace") for path in written)
    everything += "".join(capsys.readouterr()) + caplog.text
    assert not {value for value in planted() if value in everything}


def test_the_copy_is_read_again_and_its_files_are_private(place: Path) -> None:
    assert clean(place, *all_files(place)) == 0
    records, _ = read_records(place / "out.csv")
    assert len(records) == ROWS
    assert {record.diagnosis_codes for record in records} == {("J20.900",)}
    assert {record.labels for record in records} == {()}
    assert records[0].present_illness.startswith("患者[PATIENT_NAME]反复咳嗽。双肺呼吸音粗")
    assert records[2].present_illness.startswith("已请[STAFF_NAME]看过")
    assert records[0].diagnosis_text == "急性支气管炎（[PATIENT_NAME]）"
    for name in ("out.csv", "r.json", "a.csv"):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600


def test_patients_stay_linked_and_their_numbers_are_gone(place: Path) -> None:
    assert clean(place, *all_files(place)) == 0
    ids = [row["patient_id"] for row in read(place / "out.csv")]
    assert len(set(ids)) == ROWS // 2 and all(ids[n] == ids[n + 1] for n in range(0, ROWS, 2))
    assert all(re.fullmatch(r"[0-9a-f]{32}", patient) for patient in ids)
    first = (place / "out.csv").read_bytes()
    for name in ("out.csv", "r.json", "a.csv"):
        (place / name).unlink()
    assert clean(place, *all_files(place)) == 0
    assert (place / "out.csv").read_bytes() == first, "the site's key gives the same pseudonyms again"
    assert report_of(place)["settings"]["key"] == "site"


def test_cleaning_the_copy_changes_no_text(place: Path) -> None:
    assert clean(place) == 0
    assert run(["data", "deidentify", str(place / "out.csv"), "--out", str(place / "again.csv")]) == 0
    one, other = read(place / "out.csv"), read(place / "again.csv")
    for before, after in zip(one, other, strict=True):
        own = {"record_id", "patient_id"}
        assert {k: v for k, v in before.items() if k not in own} == {
            k: v for k, v in after.items() if k not in own
        }


def test_the_report(place: Path) -> None:
    assert clean(place, *all_files(place)) == 0
    report = report_of(place)
    assert report["records"] == ROWS and report["by_kind"]["ID_CARD"] == 3
    assert report["gate"]["state"] == "passed"
    measured = report["gate"]["measured"]
    assert set(measured["by_kind"]) == set(KINDS) and measured["planted"] == 450
    low, high = measured["all"]["interval"]
    assert low <= measured["all"]["recall"] <= high
    risk = report["risk"]
    assert risk["before"]["k"] == 1 and risk["before"]["unique_share"] == 1.0
    assert risk["written"]["k"] >= 5 and risk["written"]["below"] == 0 and risk["written"]["l"] == 1
    assert report["settings"]["roster_names"] == 1
    groups: dict[tuple[str, ...], int] = {}
    for row in read(place / "out.csv"):
        group = tuple(row.get(name, "") for name in ("age", "sex", "department", "visit_date"))
        groups[group] = groups.get(group, 0) + 1
    assert min(groups.values()) == risk["written"]["k"], "as the file itself says"


def test_smallest_k_of_one_empties_nothing(place: Path) -> None:
    (place / "SITE.toml").write_text('source = "in.csv"\n[policy]\nsmallest_k = 1\n')
    assert clean(place, *all_files(place)) == 0
    assert report_of(place)["emptied"] == {}
    assert {row["visit_date"] for row in read(place / "out.csv")} == {"2024-Q1"}
    assert {row["age"] for row in read(place / "out.csv")} == {"15-44", "45-59", "60-74", "75-89"}


def test_the_list_to_read_again(place: Path) -> None:
    assert clean(place, *all_files(place), "--sentences", "7") == 0
    listed = read(place / "a.csv")
    assert len(listed) == 7
    confidences = [float(row["confidence"]) for row in listed]
    assert confidences == sorted(confidences) and all(0 < value <= 1 for value in confidences)
    copied = read(place / "out.csv")
    for row in listed:
        cell = copied[int(row["row"]) - 2][row["field"]]
        assert row["sentence"] in cell, "the sentence stands there"


@pytest.mark.parametrize(
    ("operators", "pattern"),
    [
        ('DATE = "shift"', r"于\[DATE:202[34]-\d\d-\d\d\]起病"),
        ('DATE = "days"', r"于就诊前\d+天起病"),
        ('DATE = "quarter"', r"于2024年第1季度起病"),
        ('AGE90 = "band"', r"其母90岁以上健在"),
        ('BED_NUM = "department"', r"现住心内科"),
    ],
)
def test_operators_of_the_settings(place: Path, operators: str, pattern: str) -> None:
    (place / "SITE.toml").write_text(
        f'source = "in.csv"\nroster = "staff.txt"\n[deidentification.operators]\n{operators}\n'
    )
    assert clean(place, *all_files(place)) == 0
    assert re.search(pattern, (place / "out.csv").read_text("utf-8-sig"))


def test_a_recall_below_the_policy_stops_with_a_report_and_no_copy(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "SITE.toml").write_text('source = "in.csv"\n[policy]\ndeidentification_names = 1.0\n')
    assert clean(place, *all_files(place)) == 3
    message = capsys.readouterr().err
    assert "names" in message and "deidentification_names = 1" in message
    assert not (place / "out.csv").exists() and not (place / "a.csv").exists()
    report = report_of(place)
    assert report["gate"]["state"] == "refused" and report["gate"]["problems"]
    assert not {value for value in planted() if value in message + json.dumps(report, ensure_ascii=False)}


def test_a_policy_that_is_off_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "SITE.toml").write_text(
        'source = "in.csv"\n[policy]\ndeidentification_names = 0\ndeidentification_recall = 0\n'
    )
    assert clean(place, *all_files(place)) == 0
    assert report_of(place)["gate"] == {"state": "off", "problems": [], "measured": None}
    assert "the policy is off" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["out.csv", "r.json", "a.csv"])
def test_what_exists_is_not_overwritten(place: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (place / name).write_text("mine")
    before = sorted(path.name for path in place.iterdir())
    assert clean(place, *all_files(place)) == 2
    assert name in capsys.readouterr().err
    assert sorted(path.name for path in place.iterdir()) == before
    assert (place / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--report", "r.pdf"], 2, ".json | .html"),
        (["--report", "out.csv.json", "--audit-list", "out.csv.json"], 2, "one name for two files"),
        (["--roster", "nobody.txt"], 1, "roster"),
        (["--config", "none.toml"], 2, "no such settings file"),
        (["--sentences", "0"], 2, "--sentences"),
    ],
)
def test_wrong_use(
    place: Path,
    more: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    assert clean(place, *more) == code
    assert message in capsys.readouterr().err
    assert not (place / "out.csv").exists()


def test_the_source_of_the_settings_is_cleaned_where_no_file_is_given(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean(place, *all_files(place)) == 0
    again = ["--config", str(place / "SITE.toml"), "--out", str(place / "again.csv")]
    assert run(["data", "deidentify", *again]) == 0
    assert (place / "again.csv").read_bytes() == (place / "out.csv").read_bytes()
    capsys.readouterr()
    assert run(["data", "deidentify", "--out", str(place / "third.csv")]) == 2
    assert "no export to clean" in capsys.readouterr().err and not (place / "third.csv").exists()


def test_in_and_out_are_two_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "in.csv").read_bytes()
    assert run(["data", "deidentify", str(place / "in.csv"), "--out", str(place / "in.csv")]) == 2
    assert (place / "in.csv").read_bytes() == before


def test_a_folder_that_cannot_be_made_leaves_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The copy can't be written: report and list, which could, are gone again."""
    (place / "file").write_text("x")
    arguments = [
        "data",
        "deidentify",
        str(place / "in.csv"),
        "--out",
        str(place / "file" / "out.csv"),
        *all_files(place),
    ]
    assert run(arguments) == 1
    assert not (place / "r.json").exists() and not (place / "a.csv").exists()
    assert "written" in capsys.readouterr().err


def test_strays_in_short_columns_are_dropped(place: Path) -> None:
    strays = rows()
    strays[0][4], strays[0][5] = "上官飞燕", "13911112222"
    strays[1][4], strays[1][5] = "女性", "5个月"
    with (place / "in.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([HEADER, *strays])
    (place / "SITE.toml").write_text(
        'source = "in.csv"\n[policy]\nsmallest_k = 1\n[deidentification.operators]\nAGE = "keep"\n'
    )
    assert clean(place, *all_files(place)) == 0
    copied = read(place / "out.csv")
    assert (copied[0]["sex"], copied[0]["age"]) == ("", "")
    assert (copied[1]["sex"], copied[1]["age"]) == ("女", "5个月")


@pytest.mark.parametrize("header", ["诊断", "labels", "诊断编码"])
def test_names_in_label_and_code_columns_are_removed(place: Path, header: str) -> None:
    table = [
        ["姓名", "主诉", header],
        *(["上官飞燕", f"咳嗽{n + 1}天", "上官飞燕 J20;肺炎"] for n in range(6)),
    ]
    with (place / "in.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(table)
    assert clean(place) == 0
    text = (place / "out.csv").read_text("utf-8-sig")
    assert "上官飞燕" not in text and "肺炎" in text and "咳嗽6天" in text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_page_is_complete_in_itself(place: Path, language: str) -> None:
    page = place / "r.html"
    assert (
        run(
            [
                "--lang",
                language,
                "data",
                "deidentify",
                str(place / "in.csv"),
                "--out",
                str(place / "out.csv"),
                "--report",
                str(page),
            ]
        )
        == 0
    )
    text = page.read_text("utf-8")
    assert ("重识别风险" in text) == (language == "zh")
    assert (
        "default-src 'none'" in text
        and "<script" not in text
        and "http" not in text.replace("http-equiv", "")
    )
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
