"""What the sites of a simulation keep of their records, and that a complete run keeps none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_client.app import progress_nowhere
from emr_fl_client.own_key import KEY_BYTES
from emr_fl_deploy.simulate.sites import SEAL_KEY, forget_records, make_keys, make_site
from emr_fl_shared.config.settings import SiteSettings, Training
from emr_fl_shared.labels import load_taxonomy

CODES = ("J06", "I10", "E11")


@pytest.fixture
def settings(tmp_path: Path) -> SiteSettings:
    rows = "".join(f"P{number},咳嗽{number}天,{CODES[number % 3]}\n" for number in range(60))
    (tmp_path / "a.csv").write_text("患者ID,主诉,诊断编码\n" + rows, encoding="utf-8")
    return SiteSettings(source=str(tmp_path / "a.csv"))


def validation_of(settings: SiteSettings, run: Path, seed: int = 0) -> list[str]:
    site, _ = make_site("a", settings, run, seed, progress_nowhere)
    data = site.data(load_taxonomy("outpatient-50"), Training(), seed)
    return data.texts(data.validation)


def test_runs_with_one_seed_are_split_alike_although_their_keys_differ(
    settings: SiteSettings, tmp_path: Path
) -> None:
    first, second = (validation_of(settings, tmp_path / run) for run in ("one", "two"))
    assert first == second and first
    assert validation_of(settings, tmp_path / "three", seed=1) != first
    keys = {(tmp_path / run / "sites" / "a" / SEAL_KEY).read_bytes() for run in ("one", "two")}
    assert len(keys) == 2 and all(len(key) == KEY_BYTES for key in keys)


def test_a_complete_run_keeps_nothing_of_the_records(settings: SiteSettings, tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_keys(["a", "b"], run)
    validation_of(settings, run)
    kept = run / "sites" / "a" / "kept-update.bin"
    kept.write_bytes(b"an update")
    assert len([path for path in (run / "sites").rglob("*") if path.is_file()]) == 6
    forget_records(["a", "b", "never-seen"], run)
    assert [path for path in (run / "sites").rglob("*") if path.is_file()] == [kept]


def test_keys_are_the_owners_and_made_once(tmp_path: Path) -> None:
    make_keys(["a"], tmp_path)
    path = tmp_path / "sites" / "a" / SEAL_KEY
    before = path.read_bytes()
    make_keys(["a"], tmp_path)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_standardised_texts_are_prepared_anew_and_kept_apart(settings: SiteSettings, tmp_path: Path) -> None:
    source = Path(settings.source)
    source.write_text(source.read_text("utf-8").replace("咳嗽", "T38.5咳嗽"), encoding="utf-8")
    taxonomy, told = load_taxonomy("outpatient-50"), []
    texts = {}
    for standardised in (False, True, True, False):
        site, _ = make_site("a", settings, tmp_path / "run", 0, lambda event: told.append(event.get("doing")))
        texts[standardised] = site.data(taxonomy, Training(), 0, standardised=standardised).prepared.texts
    assert texts[False][0] == "T38.5咳嗽0天" and texts[True][0] == "体温38.5咳嗽0天"
    assert [step for step in told if step in ("preparing", "from-cache")] == [
        *("preparing", "preparing", "from-cache", "preparing")
    ]
