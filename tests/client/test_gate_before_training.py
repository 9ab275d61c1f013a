"""A site whose de-identification misses too much never trains; what is measured is the site's own cleaner on its own records."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from conftest import write_notes
from emr_fl_client.site import Site
from emr_fl_deploy.cli import run
from emr_fl_shared.config.settings import Policy, SiteSettings, Training
from emr_fl_shared.deidentify.gate import PLANTED
from emr_fl_shared.deidentify.planting import plant
from emr_fl_shared.errors import DataError, PolicyError
from emr_fl_shared.labels import column_taxonomy

TAXONOMY = column_taxonomy(["呼吸", "消化", "神经"])


def site(tmp_path: Path, policy: Policy, **more: Any) -> Site:
    write_notes(tmp_path / "records.csv", 120, 1)
    settings = SiteSettings(source=str(tmp_path / "records.csv"), policy=policy, **more)
    return Site("north", settings, tmp_path / "state", b"k" * 32)


def test_a_site_that_passes_trains(tmp_path: Path) -> None:
    data = site(tmp_path, Policy()).data(TAXONOMY, Training(), 0)
    assert len(data.train) > 60


def test_a_site_that_fails_does_not(tmp_path: Path) -> None:
    strict = site(tmp_path, Policy(deidentification_names=1.0))
    with pytest.raises(PolicyError) as caught:
        strict.data(TAXONOMY, Training(), 0)
    assert caught.value.exit_code == 3 and "sites.north.policy" in str(caught.value)
    assert strict._data is None, "nothing is kept that a later request could train on"
    with pytest.raises(PolicyError):
        strict.data(TAXONOMY, Training(), 0)
    for note in plant(["咳嗽"], PLANTED, seed=2026):
        ((start, end, _),) = note.truth
        assert note.text[start:end] not in str(caught.value)


def test_zero_switches_it_off(tmp_path: Path) -> None:
    off = Policy(deidentification_recall=0, deidentification_names=0)
    assert len(site(tmp_path, off).data(TAXONOMY, Training(), 0).train) > 60


def test_it_is_measured_once_and_quickly(tmp_path: Path) -> None:
    with_gate = site(tmp_path, Policy())
    with_gate.data(TAXONOMY, Training(), 0)
    begun = time.monotonic()
    with_gate.data(TAXONOMY, Training(), 0)
    assert time.monotonic() - begun < 0.05


def test_the_roster_of_the_settings_is_used(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("欧文博\n", encoding="utf-8")
    prepared_by = site(tmp_path, Policy(), roster=str(tmp_path / "staff.txt"))
    with (tmp_path / "records.csv").open("a", encoding="utf-8") as stream:
        stream.write("咳嗽3天已电话告知欧文博。,呼吸\n")
    prepared = prepared_by.data(TAXONOMY, Training(), 0).prepared
    assert any("[STAFF_NAME]" in text for text in prepared.texts)
    assert not any("欧文博" in text for text in prepared.texts)


def test_a_roster_that_is_not_there_stops_the_site(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="roster"):
        site(tmp_path, Policy(), roster=str(tmp_path / "none.txt")).data(TAXONOMY, Training(), 0)


def test_a_simulation_says_so_before_it_starts(
    hand_written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (hand_written / "staff.txt").write_text("欧文博\n13800138000\n", encoding="utf-8")
    out = hand_written / "run"
    arguments = [
        "simulate",
        "--data",
        str(hand_written),
        "--out",
        str(out),
        "--set",
        "sites.north.roster=staff.txt",
    ]
    assert run(arguments) == 1
    message = capsys.readouterr().err
    assert "staff.txt, line 2" in message and "13800138000" not in message and "欧文博" not in message
    assert not out.exists()
