"""A site's own policy: signed with the kit's key, refused otherwise, in force wherever the site acts; its switch and its audit."""

from __future__ import annotations

import csv
import json
import shutil
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from emr_fl_client.egress import KillSwitch
from emr_fl_client.join.place import Place, Places
from emr_fl_client.own_policy import with_own_policy
from emr_fl_deploy.cli import run
from emr_fl_deploy.simulate.sites import make_site
from emr_fl_shared.chain import Chain, head_path, read_chain
from emr_fl_shared.config.loading import load_site_settings
from emr_fl_shared.config.settings import Policy, SiteSettings
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.messages import set_language

POLICY = 'version = 3\nhours = "20:00-06:00"\nmax_update_norm = 5.0\nmetrics = { loss = 2 }\nmax_bytes_per_day = "2GB"\n'
SITE = ["--site", "hospital-a", "--kit"]


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    set_language("en")
    yield
    set_language(None)


@pytest.fixture
def signed(kit: Path) -> Path:
    (kit / "POLICY.toml").write_text(POLICY, "utf-8")
    assert run(["client", "policy", "sign", *SITE, str(kit)]) == 0
    return kit


def opened(kit: Path) -> Place:
    return Places("hospital-a", kit).open()


def test_signed_checked_and_in_force(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = Policy.model_validate(tomllib.loads(POLICY))
    signature = signed / "POLICY.toml.sig"
    assert stat.S_IMODE(signature.stat().st_mode) == 0o600
    capsys.readouterr()
    assert run(["client", "policy", "check", *SITE, str(signed)]) == 0
    assert f"version 3, SHA-256 {expected.digest()}" in capsys.readouterr().out
    assert opened(signed).settings.policy == expected
    assert run(["client", "policy", "show", *SITE, str(signed)]) == 0
    shown = capsys.readouterr().out
    assert "POLICY.toml, signed by the site" in shown and expected.digest() in shown
    assert Policy.model_validate(tomllib.loads(shown)) == expected, "what is shown can be saved as a policy"


def test_it_takes_the_place_of_the_section_as_a_whole(signed: Path) -> None:
    with (signed / "SITE.toml").open("a", encoding="utf-8") as file:
        file.write("\n[policy]\nshare_controls = true\n")
    text = (signed / "SITE.toml").read_text("utf-8")
    (signed / "SITE.toml").write_text(text.replace("[policy]\n", "", text.count("[policy]\n") - 1), "utf-8")
    assert load_site_settings(signed / "SITE.toml").policy.share_controls
    assert not opened(signed).settings.policy.share_controls
    (signed / "POLICY.toml").unlink()
    assert opened(signed).settings.policy.share_controls


def test_one_that_is_named_has_to_be_there(kit: Path) -> None:
    text = (kit / "SITE.toml").read_text("utf-8")
    (kit / "SITE.toml").write_text('policy_file = "rules.toml"\n' + text, "utf-8")
    assert run(["client", "policy", "check", *SITE, str(kit)]) == 1
    (kit / "rules.toml").write_text(POLICY, "utf-8")
    assert run(["client", "policy", "sign", *SITE, str(kit)]) == 0
    assert opened(kit).settings.policy.version == 3


@pytest.mark.parametrize("how", ["unsigned", "altered", "not a signature", "another key", "for labels"])
def test_what_nobody_at_the_site_signed_is_refused(
    signed: Path, provisioned: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, signature = signed / "POLICY.toml", signed / "POLICY.toml.sig"
    if how == "unsigned":
        signature.unlink()
    elif how == "altered":
        path.write_text(POLICY.replace("5.0", "50.0"), "utf-8")
    elif how == "not a signature":
        signature.write_text("x\n", "utf-8")
    elif how == "for labels":  # a signature of the site's own, made for another kind of file
        mapping = 'taxonomy = "outpatient-50"\n[labels]\n"A" = "高血压"\n'
        path.write_text(mapping, "utf-8")
        (signed / "labels.local.toml").write_text(mapping, "utf-8")
        assert run(["client", "labels", "sign", *SITE, str(signed)]) == 0
        shutil.copy(signed / "labels.local.toml.sig", signature)
        (signed / "labels.local.toml").unlink()
    else:
        other = Path(shutil.copytree(provisioned / "sites" / "hospital-b", tmp_path / "b"))
        (other / "POLICY.toml").write_text(POLICY, "utf-8")
        assert run(["client", "policy", "sign", "--site", "hospital-b", "--kit", str(other)]) == 0
        shutil.copy(other / "POLICY.toml.sig", signature)
    before = {file: file.read_bytes() for file in signed.rglob("*") if file.is_file()}
    out = tmp_path / "copy.csv"
    for command in (
        ["client", "policy", "check", *SITE, str(signed)],
        ["client", "policy", "show", *SITE, str(signed)],
        ["client", "join", *SITE, str(signed)],
        ["data", "deidentify", "--config", str(signed / "SITE.toml"), "--out", str(out)],
    ):
        capsys.readouterr()
        assert run(command) == 3, command
        assert "policy" in capsys.readouterr().err
    assert run(["client", "check", *SITE, str(signed), "--offline"]) == 1
    assert "stop" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in signed.rglob("*") if file.is_file()} == before
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_round = 3\n", "did you mean max_rounds"),
        ("[policy]\nmax_rounds = 3\n", "unknown setting"),
        ('hours = "9-17"\n', "hours"),
        ('weekdays = ["monday"]\n', "weekdays"),
        ("metrics = { auc = 3 }\n", "metrics"),
        ('max_bytes_per_day = "many"\n', "max_bytes_per_day"),
        ("messages = [\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_not_signed(
    kit: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (kit / "POLICY.toml").write_text(text, "utf-8")
    assert run(["client", "policy", "sign", *SITE, str(kit)]) == 2
    assert words in capsys.readouterr().err
    assert not (kit / "POLICY.toml.sig").exists()


def test_a_simulated_site_keeps_to_it(signed: Path, tmp_path: Path) -> None:
    settings = SiteSettings(source=str(signed / "records.csv"), policy_file=str(signed / "POLICY.toml"))
    site, _ = make_site("north", settings, tmp_path, 0, lambda _: None)
    assert site.settings.policy.max_update_norm == 5.0
    (signed / "POLICY.toml").write_text(POLICY + "smallest_count = 1\n", "utf-8")
    with pytest.raises(PolicyError, match="does not fit"):
        make_site("north", settings, tmp_path, 0, lambda _: None)
    assert with_own_policy(SiteSettings(source="x")).policy == Policy()


# --- the switch -----------------------------------------------------------------------------------------------------------


def test_the_switch_is_thrown_noted_and_taken_back(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["client", "policy", "stop", *SITE, str(signed)]) == 0
    assert KillSwitch(signed / "state").stopped
    assert run(["client", "policy", "stop", *SITE, str(signed)]) == 0
    capsys.readouterr()
    assert run(["client", "policy", "show", *SITE, str(signed)]) == 0
    assert "STOPPED" in capsys.readouterr().out
    assert run(["client", "check", *SITE, str(signed), "--offline"]) == 0
    assert "stopped by the kill switch" in capsys.readouterr().out
    assert run(["client", "policy", "resume", *SITE, str(signed)]) == 0
    assert not KillSwitch(signed / "state").stopped
    assert [entry["kind"] for entry in read_chain(opened(signed).receipts).entries] == ["stopped", "resumed"]


def test_the_switch_is_thrown_also_where_nothing_else_works(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (signed / "POLICY.toml").write_text("broken", "utf-8")
    (signed / "kit.json").write_text("{}", "utf-8")
    assert run(["client", "policy", "stop", *SITE, str(signed)]) == 0
    assert KillSwitch(signed / "state").stopped
    assert "has no entry of it" in capsys.readouterr().out


# --- the audit ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(kit: Path) -> Path:
    place = opened(kit)
    log = Chain(place.receipts, place.name, place.signer())
    for number in (1, 2):
        facts = {"run": "demo", "round": number, "body_bytes": 400, "payload_bytes": 4_000_000, "tensors": 29}
        facts |= {
            "payload_format": "int8",
            "norm": 2.0,
            "scaled": 0.5,
            "policy": "ab" * 32,
            "policy_version": 3,
        }
        log.append("trained", {**facts, "epsilon": 0.5 * number})
    log.append(
        "failed", {"run": "=SUM(A1)", "round": 3, "cause": "policy", "reason": "policy.max_rounds: no"}
    )
    return kit


def test_a_person_can_read_it(logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["client", "audit", *SITE, str(logged)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "trained",
        "demo r2",
        "4.0 MB",
        "29 tensors int8",
        "scaled by 0.5",
        "policy 3/abababab",
        "policy: policy.max_rounds: no",
        "8.0 MB left",
        "ε 1",
        "whole: 3 entries",
    ):
        assert words in shown, words
    assert run(["client", "audit", *SITE, str(logged), "--verify"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("whole: 3 entries") and "signed by key" in line
    set_language("zh")
    assert run(["client", "audit", *SITE, str(logged), "--lang", "zh"]) == 0
    assert "29 个张量" in capsys.readouterr().out


def test_it_is_exported(logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, lines = tmp_path / "audit.csv", tmp_path / "audit.jsonl"
    for file in (table, lines):
        assert run(["client", "audit", *SITE, str(logged), "--verify", "--export", str(file)]) == 0
        assert file.stat().st_mode & 0o777 == 0o600
        assert run(["client", "audit", *SITE, str(logged), "--export", str(file)]) == 2, "it is there already"
    entries = read_chain(opened(logged).receipts).entries
    assert [json.loads(line) for line in lines.read_text("utf-8").splitlines()] == entries
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seq"] for row in rows] == ["1", "2", "3"] and rows[1]["payload_bytes"] == "4000000"
    assert rows[2]["run"] == "'=SUM(A1)", "a name that the server chose is no formula"
    assert run(["client", "audit", *SITE, str(logged), "--export", str(tmp_path / "audit.txt")]) == 2


@pytest.mark.parametrize("how", ["changed", "deleted", "another key", "head gone"])
def test_tampering_stops_with_its_reason(
    logged: Path, provisioned: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = opened(logged).receipts
    if how == "changed":
        log.write_bytes(log.read_bytes().replace(b'"round": 2', b'"round": 1'))
    elif how == "deleted":
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    elif how == "head gone":
        head_path(log).unlink()
    else:
        shutil.copy(provisioned / "sites" / "hospital-b" / "node.pub", logged / "node.pub")
    for options in ([], ["--verify"], ["--json"]):
        capsys.readouterr()
        assert run(["client", "audit", *SITE, str(logged), *options]) == 3
        said = capsys.readouterr()
        assert "not as it was written" in said.err and "whole" not in said.out.replace('"whole": false', "")
    if how != "another key":  # a kit with another public key is no kit
        assert run(["client", "check", *SITE, str(logged), "--offline"]) == 1
        assert "audit log" in capsys.readouterr().out


def test_json_and_a_log_by_its_path(logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["client", "audit", *SITE, str(logged), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["whole"] and shown["of"] == "hospital-a" and len(shown["entries"]) == 3
    log = opened(logged).receipts
    copy = Path(shutil.copy(log, tmp_path / log.name))
    shutil.copy(head_path(log), head_path(copy))
    assert run(["client", "audit", "--log", str(copy), "--verify"]) == 0
    assert run(["client", "audit", "--log", str(tmp_path / "none.jsonl")]) == 1
    assert run(["client", "audit"]) == 2
    assert run(["client", "audit", *SITE, str(logged), "--log", str(copy)]) == 2


def test_a_site_that_sent_nothing_has_no_log(kit: Path) -> None:
    assert run(["client", "audit", *SITE, str(kit)]) == 1
