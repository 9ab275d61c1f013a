"""Back-translation by two MarianMT models that this test trains: they really translate, and nothing leaves the machine."""

from __future__ import annotations

import random
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from emr_fl_client.augment.at_site import site_rewriters
from emr_fl_client.augment.back_translation import GATE, BackTranslation, Marian
from emr_fl_client.augment.translations import Translations
from emr_fl_client.kept_masked_lm import KeptMaskedLM
from emr_fl_client.own_models import check_folders
from emr_fl_shared.config.settings import Augmentation, Rewriting
from emr_fl_shared.errors import ModelError, SettingsError
from marked_notes import NOTES, problems
from small_translators import sentence, train_both

KEY = b"k" * 32
CPU = torch.device("cpu")
UNSEEN = [sentence(random.Random(10_000 + seed)) for seed in range(60)]
TEXTS = [f"{chinese}。" for chinese, _, _ in UNSEEN]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    torch.set_num_threads(1)
    return train_both(tmp_path_factory.mktemp("marian"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def operator(folders: tuple[str, str], cache: Path, **changes: Any) -> BackTranslation:
    return BackTranslation(*folders, cache=Translations(cache, KEY), **changes)


def test_the_models_translate_there_and_back(folders: tuple[str, str]) -> None:
    chinese, english, back = (list(column) for column in zip(*UNSEEN, strict=True))
    there = Marian(folders[0], device=CPU).translate(chinese, batch_size=7)
    assert sum(map(str.__eq__, there, english)) > 50
    again = Marian(folders[1], device=CPU).translate(there)
    assert sum(map(str.__eq__, again, back)) > 50


def test_what_comes_back_is_gated_guarded_kept_and_counted(folders: tuple[str, str], tmp_path: Path) -> None:
    open_gate = operator(folders, tmp_path, gate=0.0)
    free = open_gate.rewrite(TEXTS, random.Random(0))
    expected = [f"{back}。" for _, _, back in UNSEEN]
    right = sum(map(str.__eq__, free, expected))
    assert right > 40
    assert open_gate.translated == len(set(TEXTS))
    closed = operator(folders, tmp_path)
    gated = closed.rewrite(TEXTS, random.Random(0))
    assert closed.translated == 0  # all from the cache
    assert 0 < closed.rejected[GATE] < len(TEXTS)
    assert closed.changed == sum(one != other for one, other in zip(gated, TEXTS, strict=True))
    assert 0 < closed.changed < open_gate.changed
    for text, opened, kept in zip(TEXTS, free, gated, strict=True):
        assert kept in (text, opened)
        if kept != text:
            assert closed._bleu.sentence_score(kept[:-1], [text[:-1]]).score > 75.0


def test_no_marked_fact_breaks_whatever_the_models_say(folders: tuple[str, str], tmp_path: Path) -> None:
    """Notes that the small models never saw anything like: they make nonsense of 2,000 sentences, and the gate is open."""
    made = operator(folders, tmp_path, gate=0.0)
    results = made.rewrite([note.text for note in NOTES], random.Random(0))
    for seed, (note, result) in enumerate(zip(NOTES, results, strict=True)):
        assert problems(note, result, parts_left_out=0) == [], f"note {seed}"
    assert sum(made.rejected.values()) > 1000
    assert {"number", "negation", "finding"} <= set(made.rejected)


def test_placeholders_and_what_lies_between_sentences_stay(folders: tuple[str, str], tmp_path: Path) -> None:
    first, second = UNSEEN[0][0], UNSEEN[1][0]
    text = f"[DATE]在[HOSPITAL]就诊；  {first}。\n{second}！"
    (result,) = operator(folders, tmp_path, gate=0.0).rewrite([text], random.Random(0))
    assert result == text.replace(first, UNSEEN[0][2]).replace(second, UNSEEN[1][2])


def test_the_cache_is_sealed_of_one_pair_and_replaceable(folders: tuple[str, str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    operator(folders, cache).rewrite(TEXTS[:5], random.Random(0))
    (file,) = cache.iterdir()
    content = file.read_bytes()
    assert UNSEEN[0][0].encode() not in content
    assert file.stat().st_mode & 0o077 == 0
    # another site's key, other models, a damaged file: translated anew
    other = BackTranslation(*folders, cache=Translations(cache, b"o" * 32))
    other.rewrite(TEXTS[:5], random.Random(0))
    assert other.translated == 5
    changed = tuple(str(shutil.copytree(path, tmp_path / Path(path).name)) for path in folders)
    Path(changed[0], "README.md").write_text("another model")
    moved = operator((changed[0], changed[1]), cache)
    moved.rewrite(TEXTS[:5], random.Random(0))
    assert moved.translated == 5
    file.write_bytes(content[:-3])
    damaged = operator(folders, cache)
    damaged.rewrite(TEXTS[:3], random.Random(0))
    assert damaged.translated == 3


def test_folders_that_are_missing_are_said_by_their_setting(folders: tuple[str, str], tmp_path: Path) -> None:
    check_folders(Rewriting(forward=folders[0], backward=folders[1]), where="sites.north.rewriting")
    missing = Rewriting(forward=folders[0], backward=str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError) as raised:
        check_folders(missing, where="sites.north.rewriting")
    assert raised.value.where == "sites.north.rewriting.backward"
    assert raised.value.exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="no model in this folder"):
        check_folders(Rewriting(masked_lm=str(empty)), where="rewriting")


def test_a_folder_that_is_something_else_is_refused(folders: tuple[str, str], tmp_path: Path) -> None:
    broken = shutil.copytree(folders[0], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(ModelError, match="model folder can't be read"):
        operator((str(broken), folders[1]), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def at_site(rewriting: Rewriting, state: Path, told: list[dict[str, Any]], **shares: float) -> list[str]:
    found = site_rewriters(
        Augmentation(**shares),
        rewriting,
        rules_share=1.0,
        encoder="tiny",
        max_length=32,
        kept=KeptMaskedLM(state, KEY, "r"),
        cache=Translations(state, KEY),
        device=CPU,
        where="sites.north.rewriting",
        progress=told.append,
    )
    return [rewriter.name for rewriter in found or ()]


def test_a_site_uses_the_models_that_it_has(folders: tuple[str, str], tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    own = Rewriting(forward=folders[0], backward=folders[1])
    assert at_site(own, tmp_path, told, back_translation=0.5) == ["back_translation"]
    assert at_site(Rewriting(), tmp_path, told, back_translation=0.5) == []
    assert not told
    assert at_site(Rewriting(), tmp_path, told, mlm=0.5) == []
    assert told == [{"doing": "without-model", "operator": "mlm"}]
