"""The run folder before anything runs: what it is made from, and how it is taken up again."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from emr_fl_deploy.operate.start import newest_run
from emr_fl_deploy.run_folder import finished
from emr_fl_deploy.simulate import command
from emr_fl_deploy.simulate.command import Request, _prepare_folder
from emr_fl_shared.errors import SettingsError, UsageError
from emr_fl_shared.locks import RUN_LOCK, only_one


class Killed(BaseException):
    """As if the process had been killed here."""


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"RUN")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sample(out: Path) -> Request:
    return Request(out=out, sites=2, records=200, seed=3, rounds=4)


@pytest.mark.parametrize("at", ["_making", "write_settings"])
def test_a_run_killed_while_its_sample_is_made_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    whole, _, _ = _prepare_folder(sample(tmp_path / "whole"))
    killed = tmp_path / "killed"
    with monkeypatch.context() as patched:
        if at == "_making":
            import emr_fl_deploy.corpus

            def synthesise(out: Path, **_: object) -> None:
                (out.parent / f".{out.name}-abc").mkdir()
                raise Killed

            patched.setattr(emr_fl_deploy.corpus, "synthesise", synthesise)
        else:

            def write_settings(*_: object) -> None:
                raise Killed

            patched.setattr(command, "write_settings", write_settings)
        with pytest.raises(Killed):
            _prepare_folder(sample(killed))
    with pytest.raises(SettingsError, match="own settings"):
        _prepare_folder(Request(out=killed, resume=True, seed=4))
    with pytest.raises(SettingsError, match="--records"):
        _prepare_folder(Request(out=killed, resume=True, records=300))
    _, settings, _ = _prepare_folder(Request(out=killed, resume=True))
    assert settings.federation.rounds == 4
    assert files(killed) == files(whole)


def study_run(hand_written: Path, out: Path) -> Path:
    request = Request(data=hand_written, out=out, rounds=3, seed=5, assignments=("training.epochs=2",))
    return _prepare_folder(request)[0]


@pytest.mark.parametrize(
    "given",
    [{}, {"rounds": 3}, {"seed": 5}, {"assignments": ("training.epochs=2",)}],
    ids=str,
)
def test_a_run_continues_with_settings_that_say_the_same(
    hand_written: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    run = study_run(hand_written, tmp_path / "run")
    _, settings, _ = _prepare_folder(Request(out=run, resume=True, **given))
    assert (settings.federation.rounds, settings.seed, settings.training.epochs) == (3, 5, 2)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"rounds": 4}, "federation.rounds"),
        ({"seed": 6}, "seed"),
        ({"assignments": ("training.batch_size=8",)}, "training.batch_size"),
        ({"sites": 2}, "--sites"),
        ({"records": 200}, "--records"),
    ],
    ids=str,
)
def test_a_run_refuses_other_settings_and_names_only_those(
    hand_written: Path, tmp_path: Path, given: dict[str, Any], place: str
) -> None:
    run = study_run(hand_written, tmp_path / "run")
    before = files(run)
    with pytest.raises(SettingsError) as caught:
        _prepare_folder(Request(out=run, resume=True, **given))
    assert caught.value.got == place
    assert files(run) == before


def test_the_environment_counts_beside_resume(
    hand_written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = study_run(hand_written, tmp_path / "run")
    monkeypatch.setenv("EMR_FL_SET__TRAINING__BATCH_SIZE", "8")
    with pytest.raises(SettingsError, match=r"training\.batch_size"):
        _prepare_folder(Request(out=run, resume=True))


@pytest.mark.parametrize("resume", [False, True])
def test_the_environment_reaches_a_site_with_capitals_in_its_name(
    hand_written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    file = hand_written / "federation.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("sites.north", "sites.North"), encoding="utf-8")
    if resume:
        study_run(hand_written, tmp_path / "run")
    monkeypatch.setenv("EMR_FL_SET__SITES__NORTH__POLICY__MAX_ROUNDS", "10000" if resume else "7")
    out = tmp_path / "run"
    request = Request(resume=True, out=out) if resume else Request(data=hand_written, out=out)
    _, settings, _ = _prepare_folder(request)
    assert set(settings.sites) == {"North", "south"}
    assert settings.sites["North"].policy.max_rounds == (10_000 if resume else 7)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to continue"):
        _prepare_folder(Request(out=tmp_path, resume=True))


def test_what_the_run_folder_holds_is_for_its_owner(hand_written: Path, tmp_path: Path) -> None:
    run = study_run(hand_written, tmp_path / "run")
    assert (run / "settings.toml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("gpus", "there", "fits"), [(0.5, 0, False), (0.5, 1, True), (2.0, 1, False), (0.0, 0, True)]
)
def test_gpus_that_are_not_there_are_refused_before_the_folder_is_made(
    hand_written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, there: int, fits: bool
) -> None:
    def prepared(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    if fits:
        monkeypatch.setattr(command, "_prepare_folder", prepared)
        with pytest.raises(Killed):
            command.simulate(Request(data=hand_written, out=tmp_path / "run", gpus=gpus))
        return
    with pytest.raises(UsageError, match="--gpus") as caught:
        command.simulate(Request(data=hand_written, out=tmp_path / "run", gpus=gpus))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_do_not_work_in_one_folder(hand_written: Path, tmp_path: Path, resume: bool) -> None:
    run = tmp_path / "run"
    if resume:
        study_run(hand_written, run)
    else:
        run.mkdir()
    before = files(run)
    request = Request(resume=True, out=run) if resume else Request(data=hand_written, out=run)
    with (
        only_one(run / RUN_LOCK, "mine"),
        pytest.raises(UsageError, match="at work in this folder") as caught,
    ):
        _prepare_folder(request)
    assert caught.value.where == str(run)
    assert {**before, RUN_LOCK: b""} == files(run)
    with ExitStack() as held:
        _prepare_folder(request, held)  # a lock that nobody holds hinders nobody
        with pytest.raises(UsageError, match="theirs"), only_one(run / RUN_LOCK, "theirs"):
            raise AssertionError
    with only_one(run / RUN_LOCK, "free again"):
        pass


@pytest.mark.parametrize(
    ("text", "done"),
    [
        pytest.param(None, False, id="none"),
        pytest.param("{}", True, id="an object"),
        pytest.param('{"baselines_pending": true}', False, id="baselines pending"),
        pytest.param('{"baselines_pending": false}', True, id="baselines not pending"),
        pytest.param("[1]", True, id="a list"),
        pytest.param("", True, id="damaged"),
    ],
)
def test_which_run_is_finished(tmp_path: Path, text: str | None, done: bool) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    assert finished(tmp_path) is done


def test_the_newest_unfinished_run_is_continued(
    hand_written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no run to continue"):
        _prepare_folder(Request(resume=True))
    for age, name in enumerate(("newest", "older", "oldest")):
        run = study_run(hand_written, Path("runs") / name)
        os.utime(run / "settings.toml", (1e9 - age, 1e9 - age))
    Path("runs/newest/results.json").touch()
    folder, _, _ = _prepare_folder(Request(resume=True))
    assert folder == Path("runs/older") == newest_run(unfinished=True)
    assert newest_run() == Path("runs/newest")
    for name in ("older", "oldest"):
        Path(f"runs/{name}/results.json").touch()
    with pytest.raises(UsageError, match="all runs are finished") as caught:
        _prepare_folder(Request(resume=True))
    assert "--out" in caught.value.do
    with pytest.raises(UsageError, match="all runs are finished"):
        newest_run(unfinished=True)
