"""Scores by group: by hand, with intervals that hold, and without a cell that could be anybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emr_fl_server.evaluation.fairness import MERGED, GroupsSeen, fairness, visible_groups
from emr_fl_server.evaluation.held_out import HeldOutSets
from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.config import Settings
from emr_fl_shared.labels import column_taxonomy
from emr_fl_shared.metrics import bootstrap_interval, macro_f1, micro_f1
from emr_fl_shared.records import Record


def held_out(sizes: dict[str, int], seed: int = 0) -> tuple[HeldOutSet, np.ndarray]:
    """A set with a dimension `sex` of groups of these sizes, a patient a record, and decisions that are worst for the last one."""
    generator = np.random.default_rng(seed)
    values = [name for name, size in sizes.items() for _ in range(size)]
    y = generator.random((len(values), 4)) < (0.6, 0.4, 0.3, 0.2)
    right = np.array([0.75 if value == list(sizes)[-1] else 0.95 for value in values])
    decided = np.where(generator.random(y.shape) < right[:, None], y, ~y)
    patients = [f"p{row}" for row in range(len(values))]
    return HeldOutSet("standard", ["x"] * len(values), y, patients, {"sex": values}), decided


def test_scores_of_each_group_and_the_gap() -> None:
    made, decided = held_out({"female": 120, "male": 80})
    (entry,) = fairness(made, decided, smallest=20, seed=1)
    assert (entry["by"], entry["merged"]) == ("sex", 0)
    first, second = entry["groups"]
    for row, rows in ((first, slice(0, 120)), (second, slice(120, 200))):
        assert row["n"] == row["patients"] == rows.stop - rows.start
        assert row["macro_f1"] == pytest.approx(macro_f1(made.y[rows], decided[rows]))
        assert row["micro_f1"] == pytest.approx(micro_f1(made.y[rows], decided[rows]))
        assert row["macro_f1_interval"][0] < row["macro_f1"] < row["macro_f1_interval"][1]
    gap = entry["gap"]["macro_f1"]
    assert (gap["best"], gap["worst"]) == ("female", "male")
    assert gap["difference"] == pytest.approx(first["macro_f1"] - second["macro_f1"])
    assert 0 < gap["interval"][0] < gap["difference"] < gap["interval"][1]


def test_the_interval_of_a_group_is_that_of_the_plain_loop() -> None:
    """Patients are drawn over the whole set, and the group's score is that of its records among them."""
    made, decided = held_out({"female": 40, "male": 30})
    made = replace(made, patients=[f"p{row // 2}" for row in range(70)])
    (entry,) = fairness(made, decided, smallest=5, seed=3)
    slow = bootstrap_interval(
        lambda rows: micro_f1(made.y[rows[rows < 40]], decided[rows[rows < 40]]),
        70,
        seed=3,
        clusters=made.clusters,
    )
    assert entry["groups"][0]["micro_f1_interval"] == pytest.approx([slow.low, slow.high], abs=1e-9)


@pytest.mark.parametrize(
    ("sizes", "shown", "merged"),
    [
        pytest.param({"a": 30, "b": 25}, {"a": 30, "b": 25}, 0, id="all large"),
        pytest.param({"a": 30, "b": 15, "c": 10}, {"a": 30, MERGED: 25}, 2, id="small ones together"),
        pytest.param(
            {"a": 40, "b": 30, "c": 3}, {"a": 40, MERGED: 33}, 2, id="one small one takes the next with it"
        ),
        pytest.param({"a": 40, "": 25}, {"a": 40, MERGED: 25}, 0, id="unknown is a group"),
        pytest.param({"a": 40, "b": 30, "": 2}, {"a": 40, MERGED: 32}, 1, id="few unknown ones"),
        pytest.param({"a": 40, "b": 3}, {MERGED: 43}, 2, id="nothing left to compare"),
        pytest.param({"a": 4, "b": 3}, {}, 2, id="all too small"),
    ],
)
def test_small_cells_are_merged_so_that_none_can_be_calculated(
    sizes: dict[str, int], shown: dict[str, int], merged: int
) -> None:
    values = [name for name, size in sizes.items() for _ in range(size)]
    groups, found = visible_groups(values, list(range(len(values))), 20)
    assert {name: int(rows.sum()) for name, rows in groups.items()} == shown
    assert found == merged
    hidden = len(values) - sum(shown.values())
    assert hidden == 0 or hidden == len(values)


def test_patients_count_and_not_their_visits() -> None:
    values = ["a"] * 60 + ["b"] * 60
    patients = [*range(60), *(100 + row // 10 for row in range(60))]  # six patients with ten visits each
    groups, _ = visible_groups(values, patients, 20)
    assert list(groups) == [MERGED]


def test_one_group_is_no_comparison() -> None:
    made, decided = held_out({"female": 50, "male": 3})
    assert fairness(made, decided, smallest=20, seed=0) == []
    assert fairness(replace(made, groups={}), decided, smallest=20, seed=0) == []


def test_groups_are_of_closed_lists_whatever_a_cell_says() -> None:
    seen = GroupsSeen()
    seen.see(Record(sex="女", age="34岁", department="心内科二病区", visit_date="2024-Q1"))
    seen.see(Record(sex="张三", age="90+", department="张三诊室", visit_date="张三"))
    assert seen.groups() == {
        "sex": ["female", ""],
        "age": ["15-44", "90+"],
        "department": ["心内科", ""],
        "year": ["2024", ""],
    }
    assert GroupsSeen().groups() == {}


def test_groups_follow_their_records_through_every_set(tmp_path: Path) -> None:
    """Kept, carved and made noisy, a record keeps its group."""
    rows = [
        f"p{number},{'咳嗽' if number % 2 else '腹痛'}{number}天,{'男' if number % 2 else '女'},2023-0{1 + number % 9}-03,"
        f"{'' if number % 7 == 0 else '呼吸' if number % 2 else '消化'}"
        for number in range(1, 61)
    ]
    (tmp_path / "s.csv").write_text(
        "patient_id,text,sex,visit_date,labels\n" + "\n".join(rows), encoding="utf-8"
    )
    settings = Settings.model_validate(
        {"evaluation": {"sets": {"standard": str(tmp_path / "s.csv")}, "adversarial": {"texts": 0}}}
    )
    held = HeldOutSets(settings)
    validation, sets = held.sets(column_taxonomy(["呼吸", "消化"]))
    assert len(validation) + len(sets["standard"]) == 60 - 8  # those without a label are gone
    for made in (validation, sets["standard"], sets["noisy"]):
        sexes = ["male" if row[0] else "female" for row in made.y]
        assert made.groups["sex"] == sexes and set(made.groups["year"]) == {"2023"}
    assert held.standard_as_typed(column_taxonomy(["呼吸", "消化"])).texts == sets["standard"].texts


def test_groups_must_fit_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    from emr_fl_shared.errors import DataError

    made, _ = held_out({"female": 5})
    with pytest.raises(DataError):
        replace(made, groups={"sex": ["female"]})
