"""What a site needs before it joins: its kit, its own settings, its key for pseudonyms."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_client.join.place import Places
from emr_fl_shared.errors import DataError, EmrFlError, PolicyError, SettingsError, StorageError


def opened(kit: Path) -> Places:
    return Places("hospital-a", kit)


def test_a_kit_as_it_comes(kit: Path) -> None:
    place = opened(kit).open()
    assert place.name == "hospital-a"
    assert place.settings.source == str(kit / "records.csv")
    assert place.state == kit / "state" and place.state.stat().st_mode & 0o777 == 0o700
    assert place.receipts == kit / "state" / "audit" / "egress.jsonl"


def test_settings_and_state_elsewhere(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "site.toml").write_text('source = "/data/export.csv"')
    place = Places("hospital-a", kit, tmp_path / "own" / "site.toml").open()
    assert place.settings.source == "/data/export.csv" and place.state == tmp_path / "own" / "state"
    place = Places("hospital-a", kit, tmp_path / "own" / "site.toml", tmp_path / "deep" / "state").open()
    assert place.state == tmp_path / "deep" / "state" and place.state.is_dir()


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("kits/sites/hospital-a", id="kits"),
        pytest.param("hospital-a", id="name"),
        pytest.param(".", id="here"),
    ],
)
def test_the_kit_is_found(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    folder = tmp_path / "work" / where
    folder.parent.mkdir(parents=True, exist_ok=True)
    kit.rename(folder)
    monkeypatch.chdir(tmp_path / "work")
    place = Places("hospital-a").open()
    assert place.kit.folder == folder.resolve() and place.settings_path.is_absolute()


def test_no_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="hospital-a"):
        Places("hospital-a").open()
    with pytest.raises(DataError, match="nowhere"):
        Places("hospital-a", tmp_path / "nowhere").open()
    assert list(tmp_path.iterdir()) == []


def test_the_kit_of_another_site(kit: Path) -> None:
    with pytest.raises(PolicyError, match="the kit of another site"):
        Places("hospital-b", kit).open()
    assert not (kit / "state").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param('source = "records.csv"\nsuorce = 1', "suorce", id="unknown key"),
        pytest.param("[columns]", "source", id="no source"),
        pytest.param('source = ""', "source", id="empty source"),
        pytest.param('source = "records.csv"\n[policy]\nsmallest_count = 0', "smallest_count", id="policy"),
        pytest.param('source = "records.csv"\n[policy]\nshare_score = 1', "share_score", id="unknown policy"),
        pytest.param("source = ", "TOML", id="no TOML"),
    ],
)
def test_settings_that_are_wrong(kit: Path, text: str, words: str) -> None:
    (kit / "SITE.toml").write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        opened(kit).open()
    assert "SITE.toml" in caught.value.render() and not (kit / "state").exists()


def test_no_settings(kit: Path) -> None:
    (kit / "SITE.toml").unlink()
    with pytest.raises(SettingsError, match="no such settings file"):
        opened(kit).open()


def test_no_room_for_the_state(kit: Path) -> None:
    (kit / "state").write_text("a file")
    with pytest.raises(StorageError, match="can't be made"):
        opened(kit).open()


def test_the_pseudonym_key_is_made_once_and_kept(kit: Path, tmp_path: Path) -> None:
    key = opened(kit).open().pseudonym_key()
    path = kit / "state" / "pseudonym.key"
    assert len(key) == 32 and path.read_bytes() == key and path.stat().st_mode & 0o777 == 0o600
    assert opened(kit).open().pseudonym_key() == key
    assert Places("hospital-a", kit, state=tmp_path / "other").open().pseudonym_key() != key


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604], ids=oct)
def test_a_key_that_others_can_read_is_refused(kit: Path, mode: int) -> None:
    place = opened(kit).open()
    place.pseudonym_key()
    path = kit / "state" / "pseudonym.key"
    path.chmod(mode)
    with pytest.raises(PolicyError, match="others can read this key") as caught:
        place.pseudonym_key()
    assert caught.value.do == f"chmod 600 {path}"


@pytest.mark.parametrize("content", [b"", b"short"], ids=["empty", "short"])
def test_a_key_that_is_too_short_is_refused(kit: Path, content: bytes) -> None:
    place = opened(kit).open()
    (kit / "state" / "pseudonym.key").write_bytes(content)
    (kit / "state" / "pseudonym.key").chmod(0o600)
    with pytest.raises(EmrFlError, match="key"):
        place.pseudonym_key()
