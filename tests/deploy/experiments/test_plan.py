"""What is to be run: which settings win, which folder is refused, in which order."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from emr_fl_deploy.experiments.catalogue import Experiment
from emr_fl_deploy.experiments.plan import (
    Asked,
    Cell,
    Plan,
    check_folder,
    choose_folder,
    make_plan,
    read_plan,
    take_folder,
)
from emr_fl_deploy.experiments.running import default_jobs, shared_out
from emr_fl_shared.errors import DataError, SettingsError, UsageError


def asked(name: Path | str, **changes: object) -> Asked:
    return Asked(str(name), **{"only": ("plain", "tfidf", "alone"), **changes})  # type: ignore[arg-type]


def test_the_rows_own_settings_win_then_the_command_line_then_the_environment(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[training]\nbatch_size = 8\nepochs = 2\nweight_decay = 0.1\nbalance = 0.9\n")
    monkeypatch.setenv("EMR_FL_SET__TRAINING__EPOCHS", "3")
    monkeypatch.setenv("EMR_FL_SET__TRAINING__BATCH_SIZE", "4")
    plan = make_plan(asked(small_file, config=config, assignments=("training.batch_size=16",), rounds=7))
    training = plan.cell_settings(plan.experiment.of("plain"), ())["training"]
    assert training["batch_size"] == 16 and training["epochs"] == 3 and training["weight_decay"] == 0.1
    assert training["balance"] == 0.0, "what makes the row this row"
    assert plan.settings["federation"] == {"rounds": 7, "patience": 0}


def test_wrong_settings_are_said_before_anything_runs(small_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        make_plan(asked(small_file, assignments=("training.batch_sise=3", "model.max_length=2")))
    assert "batch_size" in str(caught.value) and "model.max_length" in str(caught.value)
    assert "--set" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"only": ("plein",)}, "--only"),
        ({"seeds": 0}, "--seeds"),
        ({"jobs": 0}, "--jobs"),
        ({"records": 3}, "--records"),
    ],
    ids=str,
)
def test_wrong_usage(small_file: Path, changes: dict[str, object], where: str) -> None:
    with pytest.raises(UsageError, match=where):
        make_plan(asked(small_file, **changes))


def test_the_sample_belongs_to_no_data(small_file: Path, hand_written: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        make_plan(asked(small_file, data=hand_written, records=300))
    with pytest.raises(SettingsError, match=r"federation\.toml"):
        make_plan(asked(small_file, data=small_file.parent / "none"))
    with pytest.raises(UsageError, match="--data DIR"):
        make_plan(asked(small_file, config=hand_written / "federation.toml"))


def test_every_row_has_its_cells_seed_by_seed(small: Experiment, hand_written: Path, tmp_path: Path) -> None:
    plan = Plan(small, {"seed": 4}, str(hand_written))
    cells = plan.cells(tmp_path, 2, ("plain", "alone"))
    assert cells == [
        Cell("plain", 4),
        Cell("alone", 4, "north"),
        Cell("alone", 4, "south"),
        Cell("plain", 5),
        Cell("alone", 5, "north"),
        Cell("alone", 5, "south"),
    ]
    assert len({cell.folder(tmp_path) for cell in cells}) == len(cells)
    counts = Counter(cell.configuration for cell in plan.cells(tmp_path, 2))
    assert counts == {"plain": 2, "broken": 2, "tfidf": 2, "alone": 4}, "a row without its encoder has none"


def test_side_by_side_the_order_turns() -> None:
    plan = make_plan(Asked("cost"))
    order = [cell.configuration for cell in plan.cells(Path("out"), 3)]
    rows = len(plan.runnable())
    assert order[:rows] != order[rows : 2 * rows]
    assert sorted(order[:rows]) == sorted(order[rows : 2 * rows])
    assert {order[0], order[rows], order[2 * rows]} == set(order[:3])
    with pytest.raises(UsageError, match="--jobs"):
        make_plan(Asked("cost", jobs=2))


def test_a_site_alone_is_a_federation_of_one(small: Experiment) -> None:
    tree = Plan(small, {}, None).cell_settings(small.of("alone"), ["north"])
    assert tree["federation"]["min_sites"] == 1


def test_the_same_experiment_is_taken_up_and_may_have_more_seeds(small: Experiment, tmp_path: Path) -> None:
    plan = Plan(small, {"training": {"epochs": 2}})
    assert check_folder(tmp_path / "out", plan) == 0
    assert not (tmp_path / "out").exists()
    assert take_folder(tmp_path / "out", plan, 2) == 2
    assert take_folder(tmp_path / "out", plan, 5) == 5
    assert take_folder(tmp_path / "out", plan, 3) == 5, "the table keeps what it has"
    assert read_plan(tmp_path / "out") == plan


@pytest.mark.parametrize(
    ("other", "place"),
    [
        ({"settings": {"training": {"epochs": 3}}}, "settings.training.epochs"),
        ({"data": "/elsewhere"}, "data"),
        ({"records": 300}, "sample.records"),
        ({"bert": "folder"}, "bert"),
    ],
    ids=str,
)
def test_another_one_is_refused_and_the_folder_stays_as_it_was(
    small: Experiment, tmp_path: Path, other: dict[str, object], place: str
) -> None:
    take_folder(tmp_path / "out", Plan(small, {"training": {"epochs": 2}}), 2)
    before = (tmp_path / "out" / "experiment.json").read_bytes()
    with pytest.raises(SettingsError, match="another experiment") as caught:
        take_folder(tmp_path / "out", Plan(small, **{"settings": {"training": {"epochs": 2}}, **other}), 2)  # type: ignore[arg-type]
    assert place in caught.value.got
    assert (tmp_path / "out" / "experiment.json").read_bytes() == before


def test_a_folder_of_something_else_is_refused(small: Experiment, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        check_folder(tmp_path, Plan(small))
    (tmp_path / "experiment.json").write_text('{"schema": 1, "plan": []}')
    with pytest.raises(DataError, match="can't be read"):
        check_folder(tmp_path, Plan(small))


def test_without_out_the_same_command_finds_what_it_began(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = asked(small_file)
    plan = make_plan(given)
    begun = Path("runs") / "small-20260101-000000"
    take_folder(begun, plan, 2)
    assert choose_folder(given, plan) == begun
    assert choose_folder(given, make_plan(asked(small_file, rounds=9))) != begun
    (begun / "results.json").write_text(json.dumps({"complete": True}))
    assert choose_folder(given, plan) != begun
    assert choose_folder(asked(small_file, out=Path("mine")), plan) == Path("mine")


def test_runs_share_the_cores() -> None:
    assert shared_out([0, 1, 2, 3, 4], 2) == [[0, 2, 4], [1, 3]]
    assert shared_out([0], 2) == [[0], [0]]
    assert default_jobs(0.5) == 1 and default_jobs(0.0) >= 1
