"""The built-in experiments against the paper, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from emr_fl_deploy.experiments.catalogue import Experiment, known_experiments, load_experiment
from emr_fl_deploy.experiments.plan import Asked, make_plan
from emr_fl_shared.config import settings_from
from emr_fl_shared.config.loading import merge
from emr_fl_shared.config.settings import Settings
from emr_fl_shared.errors import SettingsError, UsageError

PAPER = {
    "table1": {
        "tfidf": (54.3, 61.2, 0.512),
        "textcnn": (59.8, 67.5, 0.589),
        "bilstm-attention": (62.1, 69.8, 0.611),
        "bert-base": (66.2, 74.1, 0.684),
        "encoder": (68.5, 76.3, 0.701),
        "da-rules": (70.1, 77.4, 0.718),
        "da": (71.2, 78.5, 0.725),
        "at": (71.5, 78.8, 0.728),
        "full": (72.7, 79.9, 0.741),
    },
    "table2": {"encoder": (68.5, 61.8, 9.78), "full": (72.7, 70.2, 3.44)},
    "table3": {
        "full": (72.7,),
        "without-da": (71.5,),
        "without-at": (71.2,),
        "without-mixup": (71.9,),
        "without-back-translation": (71.7,),
        "without-focal": (71.0,),
        "without-at-and-da": (68.9,),
    },
}
COLUMNS = {
    "table1": [("standard.macro_f1", 100), ("standard.micro_f1", 100), ("standard.pr_auc_macro", 1)],
    "table2": [("standard.macro_f1", 100), ("noisy.macro_f1", 100), ("noisy.drop", 100)],
    "table3": [("standard.macro_f1", 100)],
}


def resolved(experiment: Experiment, name: str) -> Settings:
    """The settings of a row as `simulate` would resolve them, with its default encoder."""
    plan = make_plan(Asked(experiment.name, bert="bert-folder"))
    tree = merge({"model": {"name": "tiny"}}, plan.cell_settings(experiment.of(name), ["a"]))
    return settings_from(tree | {"sites": {}}).resolved()


@pytest.mark.parametrize("name", known_experiments())
def test_every_configuration_is_one_that_simulate_takes(name: str) -> None:
    experiment = load_experiment(name)
    for configuration in experiment.configuration:
        resolved(experiment, configuration.id)


@pytest.mark.parametrize("name", sorted(PAPER))
def test_the_papers_figures(name: str) -> None:
    rows = {row.id: row for row in load_experiment(name).configuration if row.paper}
    assert rows.keys() == PAPER[name].keys()
    for row, figures in PAPER[name].items():
        for (column, scale), figure in zip(COLUMNS[name], figures, strict=True):
            assert scale * rows[row].paper[column][0] == pytest.approx(figure), (row, column)


def test_what_the_rows_switch() -> None:
    """The paper's baseline has neither augmentation nor adversarial training nor focal loss (§4.2, §5.3); the full method all."""
    table1 = load_experiment("table1")

    def switches(name: str) -> tuple[bool, bool, str, bool]:
        training = resolved(table1, name).training
        return (
            training.augmentation.enabled,
            training.mixup.probability > 0,
            training.adversarial.method,
            training.loss.focal > 0,
        )

    assert {name: switches(name) for name in ("encoder", "da-rules", "da", "at", "full")} == {
        "encoder": (False, False, "none", False),
        "da-rules": (True, False, "none", True),
        "da": (True, True, "none", True),
        "at": (False, False, "freelb", True),
        "full": (True, True, "freelb", True),
    }
    assert resolved(table1, "textcnn").model.name == "textcnn"
    assert resolved(table1, "bert-base").model.name == "bert-folder"
    assert switches("textcnn") == switches("bilstm-attention") == switches("bert-base") == switches("encoder")


@pytest.mark.parametrize("name", ["table1", "table3"])
def test_rows_differ_in_what_they_are_named_for_only(name: str) -> None:
    experiment = load_experiment(name)
    allowed = {"augmentation", "mixup", "adversarial", "loss", "balance", "learning_rate"}
    first, *others = (
        resolved(experiment, row.id) for row in experiment.configuration if not row.not_run and not row.needs
    )
    for other in others:
        for key in type(first.training).model_fields.keys() - allowed:
            assert getattr(other.training, key) == getattr(first.training, key)
        assert other.aggregation == first.aggregation and other.federation.rounds == first.federation.rounds


@pytest.mark.parametrize("name", ["table9", "", "table1 "])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_experiment(name)
    assert caught.value.exit_code == 2
    assert all(known in caught.value.expected for known in known_experiments())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"noisy.drop"', '"noisy.dorp"', "dorp"),
        ('reference = "plain"', 'reference = "none"', "none"),
        ('id = "broken"', 'id = "plain"', "twice"),
        ("balanced = false", "balance = false", "unknown setting"),
        ('kind = "tfidf"', 'kind = "svm"', "svm"),
        ('"standard.macro_f1" = [0.685, 0.002]', '"standard.f9" = [0.6]', "f9"),
    ],
)
def test_a_file_that_is_none_says_why(small_file: Path, old: str, new: str, said: str) -> None:
    text = small_file.read_text(encoding="utf-8")
    assert old in text
    small_file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError, match=said) as caught:
        load_experiment(str(small_file))
    assert str(small_file) in str(caught.value)
