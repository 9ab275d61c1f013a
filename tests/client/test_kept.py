"""A finished update on disk: the same question gets the same bytes, and nothing half-written is ever believed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emr_fl_client import kept
from emr_fl_client.kept import KeptUpdate, question_digest
from emr_fl_client.site import Site, Trained
from emr_fl_shared.config.settings import SiteSettings
from emr_fl_shared.errors import StorageError
from emr_fl_shared.wire import SiteScores, TrainRequest

UPDATE, ABOUT = "kept-update.bin", "kept-update.json"
TRAINED = Trained(
    update=b"an update",
    shapes={"w": (2, 3), "scale": ()},
    examples=10,
    validation_examples=3,
    steps=4,
    seconds=0.1 + 0.2,
    loss=1 / 3,
    received=SiteScores(n=3, macro_f1=0.25, micro_f1=0.5),
    single_label=True,
    device="cpu",
    precision="fp32",
    peak_rss_mb=123.456,
)
REQUEST = TrainRequest(
    run="r", round=1, rounds=3, seed=7, model={}, taxonomy="", training={}, decision={}, payload="fp32"
)


def sample() -> tuple[str, bytes, dict[str, Any]]:
    return "question", b"update" * 5, {"n": 3, "text": "咳嗽"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose training gives other bytes every time."""
    count = 0

    def train(self: Site, request: TrainRequest, model: bytes) -> Trained:
        nonlocal count
        count += 1
        return replace(TRAINED, update=b"training %d" % count)

    monkeypatch.setattr(Site, "_train", train)
    return Site("a", SiteSettings(source="records.csv"), tmp_path / "state", b"key")


def test_the_same_question_has_the_same_answer_also_after_a_restart(site: Site) -> None:
    told: list[dict[str, Any]] = []
    first = site.train(REQUEST, b"model")
    again = replace(site, progress=told.append).train(REQUEST, b"model")
    assert again == first and again.update == b"training 1"
    assert told == [{"doing": "sending-again"}]


@pytest.mark.parametrize(
    ("request_", "model"),
    [
        pytest.param(REQUEST, b"other", id="model"),
        pytest.param(REQUEST.model_copy(update={"round": 2}), b"model", id="round"),
        pytest.param(REQUEST.model_copy(update={"seed": 8}), b"model", id="seed"),
        pytest.param(REQUEST.model_copy(update={"run": "s"}), b"model", id="run"),
        pytest.param(REQUEST.model_copy(update={"payload": "int8"}), b"model", id="payload"),
    ],
)
def test_another_question_is_trained(site: Site, request_: TrainRequest, model: bytes) -> None:
    site.train(REQUEST, b"model")
    assert site.train(request_, model).update == b"training 2"
    assert site.train(request_, model).update == b"training 2"
    assert site.train(REQUEST, b"model").update == b"training 3", "only one is kept"


def test_figures_of_another_version_are_not_taken_for_an_answer(site: Site) -> None:
    site.train(REQUEST, b"model")
    path = site.state_folder / ABOUT
    about = json.loads(path.read_bytes())
    del about["figures"]["device"]
    path.write_text(json.dumps(about))
    assert site.train(REQUEST, b"model").update == b"training 2"


def test_request_and_model_do_not_run_into_each_other() -> None:
    assert question_digest("ab", b"c") != question_digest("a", b"bc")


@pytest.mark.parametrize("name", [UPDATE, ABOUT])
def test_no_truncated_file_is_believed(tmp_path: Path, name: str) -> None:
    question, update, figures = sample()
    store = KeptUpdate(tmp_path)
    store.keep(question, update, figures)
    assert store.find(question) == (update, figures)
    whole = (tmp_path / name).read_bytes()
    for length in range(len(whole)):
        (tmp_path / name).write_bytes(whole[:length])
        assert store.find(question) is None, length
    (tmp_path / name).unlink()
    assert store.find(question) is None


@pytest.mark.parametrize(
    "about",
    [
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"question": "question"}', id="only the question"),
        pytest.param(b'{"question": "question", "sha256": null, "figures": {}}', id="no digest"),
        pytest.param(b'{"question": "question", "sha256": "SHA"}', id="no figures"),
        pytest.param(
            b'{"question": "question", "sha256": "SHA", "figures": []}', id="figures of another kind"
        ),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_damaged_figures_are_not_believed(tmp_path: Path, about: bytes) -> None:
    question, update, figures = sample()
    KeptUpdate(tmp_path).keep(question, update, figures)
    (tmp_path / ABOUT).write_bytes(about.replace(b"SHA", hashlib.sha256(update).hexdigest().encode()))
    assert KeptUpdate(tmp_path).find(question) is None


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    question, update, figures = sample()
    KeptUpdate(tmp_path).keep(question, update, figures)
    (tmp_path / UPDATE).write_bytes(bytes([update[0] ^ 1]) + update[1:])
    assert KeptUpdate(tmp_path).find(question) is None


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_between_two_writes_leaves_no_wrong_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, after: bool
) -> None:
    store, real = KeptUpdate(tmp_path), kept.write_durably
    store.keep("one", b"update 1", {"n": 1})
    calls = 0

    def dies(path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            raise KeyboardInterrupt
        written = real(path, chunks)
        if calls == nth:
            raise KeyboardInterrupt
        return written

    with monkeypatch.context() as patch:
        patch.setattr(kept, "write_durably", dies)
        with pytest.raises(KeyboardInterrupt):
            store.keep("two", b"update 2", {"n": 2})
    assert store.find("one") is None
    complete = nth == 2 and after
    assert store.find("two") == ((b"update 2", {"n": 2}) if complete else None)
    store.keep("three", b"update 3", {"n": 3})
    assert store.find("three") == (b"update 3", {"n": 3})


def test_only_the_owner_can_read_it_and_no_partial_file_stays(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / ".kept-update.bin.1.part").write_bytes(b"of a killed writer")
    KeptUpdate(folder).keep(*sample())
    KeptUpdate(folder).keep(*sample())
    assert sorted(path.name for path in folder.iterdir()) == [UPDATE, ABOUT]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_new_folder_is_the_owners(tmp_path: Path) -> None:
    KeptUpdate(tmp_path / "state").keep(*sample())
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    with pytest.raises(StorageError):
        KeptUpdate(tmp_path / "state").keep(*sample())
    assert KeptUpdate(tmp_path / "state").find("question") is None


@pytest.mark.parametrize(
    "trained",
    [
        pytest.param(TRAINED, id="scores"),
        pytest.param(replace(TRAINED, received=None), id="no scores"),
    ],
)
def test_figures_survive_json(trained: Trained) -> None:
    figures = json.loads(json.dumps(trained.figures()))
    assert "update" not in figures
    assert Trained.from_figures(trained.update, figures) == trained


def test_a_loss_that_is_no_number_survives_too() -> None:
    figures = json.loads(json.dumps(replace(TRAINED, loss=math.nan).figures()))
    assert math.isnan(Trained.from_figures(b"", figures).loss)
