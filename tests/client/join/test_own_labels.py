"""A site's own mapping of labels: signed with the kit's key, refused otherwise, and part of everything that maps."""

from __future__ import annotations

import csv
import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from emr_fl_client.app import progress_nowhere
from emr_fl_client.join.place import Place, Places
from emr_fl_client.own_labels import read_mapping, site_mapping
from emr_fl_client.site import Site, SiteData
from emr_fl_deploy.cli import run
from emr_fl_deploy.simulate.sites import make_site
from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.config.settings import Training
from emr_fl_shared.errors import DataError, PolicyError, SettingsError
from emr_fl_shared.labels import load_taxonomy
from emr_fl_shared.messages import set_language

FIFTY = load_taxonomy("outpatient-50")
HYPERTENSION, DIABETES, ASTHMA = 0, 1, 15
MAPPING = (
    'taxonomy = "outpatient-50"\n[labels]\n"LOCAL-1" = "高血压"\n"本院消渴" = "糖尿病"\n"取药" = "ignore"\n'
)
SIGN = ["client", "labels", "sign", "--site", "hospital-a", "--kit"]
CHECK = ["client", "labels", "check", "--site", "hospital-a", "--kit"]


@pytest.fixture(autouse=True)
def _english():
    set_language("en")
    yield
    set_language(None)


@pytest.fixture
def mapped(kit: Path) -> Path:
    """A kit whose records are coded in the hospital's own way, with a mapping that is not signed yet."""
    values = [("LOCAL-1", ""), ("", "本院消渴"), ("J45.9", ""), ("取药", "")]
    with (kit / "records.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["患者ID", "主诉", "诊断编码", "诊断名称"])
        writer.writerows([[f"P{n}", f"咳嗽{n}天，偶有头晕。", *values[n % 4]] for n in range(120)])
    (kit / "labels.local.toml").write_text(MAPPING, "utf-8")
    return kit


@pytest.fixture
def signed(mapped: Path) -> Path:
    assert run([*SIGN, str(mapped)]) == 0
    return mapped


def opened(kit: Path) -> Place:
    return Places("hospital-a", kit).open()


def data_of(kit: Path, told: list[str] | None = None) -> SiteData:
    place = opened(kit)
    said = told if told is not None else []
    site = Site(
        place.name,
        place.settings,
        place.state,
        place.pseudonym_key(),
        lambda event: said.append(str(event.get("because", event["doing"]))),
        local_labels=place.local_labels,
    )
    return site.data(FIFTY, Training(), 0)


def test_signed_and_checked(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SIGN, str(signed)]) == 0
    shown = capsys.readouterr().out
    assert "2 values to labels of outpatient-50, 1 ignored" in shown and "消渴" not in shown
    signature = signed / "labels.local.toml.sig"
    assert stat.S_IMODE(signature.stat().st_mode) == 0o600
    assert run([*CHECK, str(signed)]) == 0
    assert opened(signed).local_labels == site_mapping(load_site_settings(signed / "SITE.toml"))


def test_without_a_mapping_nothing_changes(kit: Path) -> None:
    assert opened(kit).local_labels is None
    assert run([*CHECK, str(kit)]) == 1  # there is none to check


@pytest.mark.parametrize(
    "how", ["unsigned", "altered", "another signature", "not a signature", "another key"]
)
def test_what_nobody_at_the_site_signed_is_refused(
    signed: Path, provisioned: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, signature = signed / "labels.local.toml", signed / "labels.local.toml.sig"
    if how == "unsigned":
        signature.unlink()
    elif how == "altered":
        path.write_text(MAPPING.replace("高血压", "糖尿病"), "utf-8")
    elif how == "not a signature":
        signature.write_text("秘密\n", "utf-8")
    elif how == "another signature":
        path.write_text(MAPPING + '"b" = "ignore"\n', "utf-8")
        assert run([*SIGN, str(signed)]) == 0
        path.write_text(MAPPING, "utf-8")
    else:
        other = Path(shutil.copytree(provisioned / "sites" / "hospital-b", tmp_path / "b"))
        (other / "labels.local.toml").write_text(MAPPING, "utf-8")
        assert run(["client", "labels", "sign", "--site", "hospital-b", "--kit", str(other)]) == 0
        shutil.copy(other / "labels.local.toml.sig", signature)
    before = {file: file.read_bytes() for file in signed.rglob("*") if file.is_file()}
    capsys.readouterr()
    for command in (
        [*CHECK, str(signed)],
        ["client", "join", "--site", "hospital-a", "--kit", str(signed)],
        ["data", "check", "--config", str(signed / "SITE.toml")],
    ):
        assert run(command) == 3, command
        error = capsys.readouterr().err
        assert "labels.local.toml" in error and "emr-fl client labels sign" in error
        assert "消渴" not in error and "秘密" not in error
    assert run(["client", "check", "--site", "hospital-a", "--kit", str(signed), "--offline"]) == 1
    assert "labels.local.toml" in capsys.readouterr().out
    with pytest.raises(PolicyError):
        make_site(
            "hospital-a", load_site_settings(signed / "SITE.toml"), tmp_path / "run", 0, progress_nowhere
        )
    assert {file: file.read_bytes() for file in signed.rglob("*") if file.is_file()} == before


def test_a_key_that_is_not_the_kits_is_not_taken_from_beside_the_mapping(
    signed: Path, provisioned: Path, tmp_path: Path
) -> None:
    """The public key counts that the federation signed, not whatever lies in the folder of the mapping."""
    other = Path(shutil.copytree(provisioned / "sites" / "hospital-b", tmp_path / "b"))
    (other / "SITE.toml").write_text((signed / "SITE.toml").read_text("utf-8"), "utf-8")
    (other / "labels.local.toml").write_text(MAPPING, "utf-8")
    assert run(["client", "labels", "sign", "--site", "hospital-b", "--kit", str(other)]) == 0
    assert read_mapping(other / "labels.local.toml")
    with pytest.raises(PolicyError, match="signature does not fit"):
        Places("hospital-a", signed, other / "SITE.toml").open()


@pytest.mark.parametrize(
    "text", ["not toml", MAPPING.replace("糖尿病", "无此标签"), MAPPING + '" 取药" = "高血压"\n', MAPPING.replace("-50", "-51")]
)  # fmt: skip
def test_what_is_wrong_is_not_signed(signed: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    signature = (signed / "labels.local.toml.sig").read_bytes()
    (signed / "labels.local.toml").write_text(text, "utf-8")
    assert run([*SIGN, str(signed)]) == 2
    assert "取药" not in capsys.readouterr().err
    assert (signed / "labels.local.toml.sig").read_bytes() == signature


def test_an_own_label_set_is_named(mapped: Path) -> None:
    own = mapped / "two.csv"
    own.write_text("id,zh,en,icd10\n1,甲,A,I00-I99\n2,乙,B,J00-J99\n", "utf-8")
    (mapped / "labels.local.toml").write_text('taxonomy = "two"\n[labels]\n"LOCAL-1" = "甲"\n', "utf-8")
    assert run([*SIGN, str(mapped)]) == 2
    assert run([*SIGN, str(mapped), "--taxonomy", str(own)]) == 0
    with pytest.raises(SettingsError, match="another label set"):
        data_of(mapped)


def test_labels_that_only_the_mapping_gives_are_trained(signed: Path) -> None:
    data = data_of(signed)
    assert sorted(np.flatnonzero(data.present)) == [HYPERTENSION, DIABETES, ASTHMA]
    assert len(data.prepared) == 90 and data.prepared.unmapped["ignored"] == 30
    (signed / "labels.local.toml").unlink()
    assert sorted(np.flatnonzero(data_of(signed).present)) == [ASTHMA]


def test_a_changed_mapping_is_not_served_from_the_cache(signed: Path) -> None:
    told: list[str] = []
    data_of(signed, told)
    data_of(signed, told)
    assert "new" in told and "from-cache" in told
    path = signed / "labels.local.toml"
    path.write_text(MAPPING.replace('"取药" = "ignore"', '"取药" = 50'), "utf-8")
    assert run([*SIGN, str(signed)]) == 0
    told.clear()
    data = data_of(signed, told)
    assert "changed" in told and len(data.prepared) == 120 and data.present[49]


def test_a_simulated_site_applies_it(signed: Path, tmp_path: Path) -> None:
    settings = load_site_settings(signed / "SITE.toml")
    site, _ = make_site("hospital-a", settings, tmp_path / "run", 0, progress_nowhere)
    assert site.data(FIFTY, Training(), 0).present[DIABETES]
    (signed / "node.pub").unlink()
    with pytest.raises(DataError, match=r"node\.pub"):
        make_site("hospital-a", settings, tmp_path / "run", 0, progress_nowhere)


def test_client_check_says_so(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    run(["client", "check", "--site", "hospital-a", "--kit", str(signed), "--offline", "--json"])
    (labels,) = [line for line in json.loads(capsys.readouterr().out) if line["subject"] == "labels"]
    assert "75% of the records" in labels["seen"] and "3 values mapped by the site" in labels["seen"]


def test_data_check_applies_it_and_writes_what_is_left(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (signed / "records.csv").open("a", encoding="utf-8") as stream:
        stream.write("P900,头痛,,怪 病甲；肺炎待查\nP901,头痛,,怪病甲\nP902,头痛,XYZ,=病\n")
    target, page = signed / "left.csv", signed / "check.html"
    capsys.readouterr()
    command = ["data", "check", "--config", str(signed / "SITE.toml"), "--page", str(page)]
    assert run([*command, "--json"]) == 0
    shown = capsys.readouterr().out
    found = {finding["key"]: finding for finding in json.loads(shown)["files"][0]["findings"]}
    assert (found["labels.mapped"]["count"], found["labels.written"]["count"]) == (90, 30)
    assert found["labels.ignored"]["count"] == 30
    assert found["labels.unmapped"]["details"] == {"unmapped": 3, "uncertain": 1, "not-a-code": 1}
    assert run([*command, "--unmapped", str(target)]) == 0
    shown += capsys.readouterr().out + page.read_text("utf-8")
    for secret in ("怪病甲", "怪 病甲", "肺炎待查", "消渴", "XYZ"):
        assert secret not in shown
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with target.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["value", "reason", "times", "file"]
    assert rows[1] == ["怪病甲", "not in the label set", "2", "records.csv"]
    assert ["肺炎待查", "diagnosis in doubt", "1", "records.csv"] in rows
    assert ["'=病", "not in the label set", "1", "records.csv"] in rows and len(rows) == 5
    assert run([*command, "--unmapped", str(target)]) == 2
