"""The staff roster: read clearly, removed everywhere, words left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.deidentify import Deidentifier, recognisers
from emr_fl_shared.deidentify.configured import site_deidentifier
from emr_fl_shared.deidentify.roster import Roster, read_roster
from emr_fl_shared.errors import DataError

NAMES = ["欧文博", "王小明", "高兴", "江山", "张力", "古丽娜尔·艾尼", "Anna Maria Li", "解放!"]


def cleaned(text: str) -> str:
    return Deidentifier([Roster(NAMES)], key=b"k").text(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("已请欧文博看过", "已请[STAFF_NAME]看过"),
        ("欧 文 博到场", "[STAFF_NAME]到场"),
        ("欧　文　博到场", "[STAFF_NAME]到场"),
        ("古丽娜尔・艾尼嘱随诊", "[STAFF_NAME]嘱随诊"),
        ("seen by ANNA MARIA LI today", "seen by [STAFF_NAME] today"),
        ("高兴医师查房", "[STAFF_NAME]医师查房"),
        ("审核：高兴", "审核：[STAFF_NAME]"),
        ("（江山）", "（[STAFF_NAME]）"),
        ("高 兴，查房", "[STAFF_NAME]，查房"),
        ("张力主任会诊", "[STAFF_NAME]主任会诊"),
        ("患儿解放昨日", "患儿[STAFF_NAME]昨日"),
        ("情绪高兴，无异常", "情绪高兴，无异常"),
        ("肌张力增高", "肌张力增高"),
        ("家在江山附近", "家在江山附近"),
        ("很高 兴奋状态", "很高 兴奋状态"),
        ("王小", "王小"),
        ("患者高兴休息后缓解", "患者高兴休息后缓解"),
        ("记录者：高兴", "记录者：[STAFF_NAME]"),
    ],
)
def test_names_and_words(text: str, expected: str) -> None:
    assert cleaned(text) == expected
    assert cleaned(expected) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("欧文博\n\n# 外科\n王 小 明\n".encode(), ("欧文博", "王小明")),
        ("﻿姓名\n高兴!\n".encode(), ("高兴!",)),
        ("工号,姓名,科室\n1,欧文博,外科\n2,王小明,内科\n".encode(), ("欧文博", "王小明")),
        ("医生\n欧文博\n".encode("gb18030"), ("欧文博",)),
        ("Anna  Maria Li\n欧文博\n欧文博\n".encode(), ("Anna Maria Li", "欧文博")),
    ],
)
def test_files(tmp_path: Path, data: bytes, expected: tuple[str, ...]) -> None:
    path = tmp_path / "staff.txt"
    path.write_bytes(data)
    assert read_roster(path) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no name"),
        ("姓名\n".encode(), "holds no name"),
        ("欧文博\n王\n".encode(), "line 2"),
        ("欧文博\n13800138000\n".encode(), "line 2"),
        ("甲,乙\n欧文博,王小明\n".encode(), "no column"),
        (b"\xff\xfe\x00\x01", "not text"),
        (b"PK\x03\x04\x00\x00", "not text"),
        (None, "can't be read"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "staff.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_roster(path)
    for value in ("欧文博", "王小明", "13800138000"):
        assert value not in str(caught.value)


def test_the_settings_name_it_and_nothing_shows_it(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("欧文博\n", encoding="utf-8")
    settings = SiteSettings(source="x.csv", roster="staff.txt").with_paths_from(tmp_path)
    cleaner = site_deidentifier(settings, key=b"k" * 32)
    assert cleaner.text("下午欧文博巡视")[0] == "下午[STAFF_NAME]巡视"
    assert "欧文博" not in repr(cleaner.recognisers) + repr(cleaner)
    without = Deidentifier(recognisers(), key=b"k")
    assert "欧文博" in without.text("下午欧文博巡视")[0], "the rules alone don't know the surname"
