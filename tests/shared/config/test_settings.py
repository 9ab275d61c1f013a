"""Settings: strictness, all problems at once, precedence, round trip."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from emr_fl_client.augment.policy import DEFAULT_SHARES
from emr_fl_client.augment.registry import operators
from emr_fl_shared.config import Settings, load_settings, parse_assignments, settings_from, write_settings
from emr_fl_shared.config.loading import environment_assignments, load_site_settings
from emr_fl_shared.config.settings import OPERATORS
from emr_fl_shared.errors import SettingsError, UsageError


def test_every_problem_is_reported_at_once_with_its_dotted_place() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from(
            {
                "training": {"epochs": "many", "adversarial": {"stepz": 3}},
                "federation": {"round_deadline": "soon"},
                "nonsense": 1,
            }
        )
    text = str(caught.value)
    assert caught.value.exit_code == 2
    for place in ("training.epochs", "training.adversarial.stepz", "federation.round_deadline", "nonsense"):
        assert place in text
    assert "did you mean steps?" in text


def test_unknown_key_in_a_site_names_the_keys_known_there() -> None:
    with pytest.raises(SettingsError, match=r"sites\.a\.sauce"):
        settings_from({"sites": {"a": {"source": "a.csv", "sauce": "b"}}})


def test_command_line_beats_environment_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("[training]\nepochs = 1\nbatch_size = 8\nweight_decay = 0.5\n", encoding="utf-8")
    settings = load_settings(
        file,
        environment={
            "EMR_FL_SET__TRAINING__EPOCHS": "2",
            "EMR_FL_SET__TRAINING__BATCH_SIZE": "16",
            "HOME": "/",
        },
        overrides=parse_assignments(["training.epochs=3"]),
    )
    assert (settings.training.epochs, settings.training.batch_size, settings.training.weight_decay) == (
        3,
        16,
        0.5,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", {"a": {"b": 1}}),
        ("a=x y", {"a": "x y"}),
        ("a=true", {"a": True}),
        ('a="1"', {"a": "1"}),
        ("a=1e-3", {"a": 1e-3}),
    ],
)
def test_assignments(text: str, expected: dict[str, object]) -> None:
    assert parse_assignments([text]) == expected


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1"])
def test_bad_assignment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_assignments([text])


def test_environment_ignores_other_variables() -> None:
    assert environment_assignments({}, {"EMR_FL_LANG": "zh", "PATH": "x"}) == {}


SITES = '[sites.Hospital-A]\nsource = "a.csv"\n[sites.b]\nsource = "b.csv"\n[sites.b.columns]\nZS = "text"\n'


@pytest.mark.parametrize("name", ["HOSPITAL-A", "hospital-a", "Hospital-A"])
def test_the_environment_reaches_a_site_whatever_the_case_of_its_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "f.toml"
    file.write_text(SITES, encoding="utf-8")
    given = {f"EMR_FL_SET__SITES__{name}__SOURCE": "other.csv", "EMR_FL_SET__SITES__B__COLUMNS__ZS": "labels"}
    sites = load_settings(file, environment=given).sites
    assert set(sites) == {"Hospital-A", "b"}
    assert (sites["Hospital-A"].source, sites["b"].source) == ("other.csv", "b.csv")
    assert sites["b"].columns == {"ZS": "labels"}


def test_the_environment_reaches_a_site_that_the_command_line_named() -> None:
    settings = load_settings(
        None,
        environment={"EMR_FL_SET__SITES__NORTH__POLICY__MAX_ROUNDS": "3"},
        overrides=parse_assignments(["sites.North.source=n.csv"]),
    )
    assert settings.sites["North"].policy.max_rounds == 3


def test_names_that_differ_in_case_only_are_told_apart_or_refused() -> None:
    known = {"sites": {"A": {"source": "1"}, "a": {"source": "2"}}}
    for name in ("A", "a"):
        found = environment_assignments(known, {f"EMR_FL_SET__SITES__{name}__SOURCE": "x"})
        assert found == {"sites": {name: {"source": "x"}}}
    both = {"sites": {"Ab": {}, "aB": {}}}
    with pytest.raises(UsageError, match=r"sites\.AB.*Ab \| aB") as caught:
        environment_assignments(both, {"EMR_FL_SET__SITES__AB__SOURCE": "x"})
    assert caught.value.exit_code == 2


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_written_settings_read_back_equal(tmp_path: Path) -> None:
    settings = settings_from({"model": {"name": "tiny"}, "sites": {"a": {"source": "a.csv"}}}).resolved()
    write_settings(settings, tmp_path / "s.toml")
    assert settings_from(tomllib.loads((tmp_path / "s.toml").read_text(encoding="utf-8"))) == settings


def test_resolved_follows_the_model() -> None:
    assert settings_from({}).resolved().training.learning_rate == 2e-5
    assert settings_from({"model": {"name": "tiny"}}).resolved().training.learning_rate != 2e-5
    assert settings_from({"training": {"learning_rate": 0.1}}).resolved().training.learning_rate == 0.1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("2h", 7200.0), ("1.5m", 90.0)])
def test_durations(text: str, seconds: float) -> None:
    assert settings_from({"federation": {"round_deadline": text}}).federation.round_deadline == seconds


@pytest.mark.parametrize("name", ["../x", "a b", "", "医院"])
def test_site_names_can_be_file_names(name: str) -> None:
    with pytest.raises(SettingsError):
        settings_from({"sites": {name: {"source": "a.csv"}}})


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".a", "a\x00b", "a\nb", ""])
def test_federation_names_stay_in_their_folder(name: str) -> None:
    with pytest.raises(SettingsError, match=r"federation\.name"):
        settings_from({"federation": {"name": name}})


def test_federation_names_may_be_chinese() -> None:
    assert settings_from({"federation": {"name": "门诊 2026"}}).federation.name == "门诊 2026"


@pytest.mark.parametrize(
    "place", ["training.weight_decay", "training.loss.gamma", "federation.round_deadline"]
)
def test_infinity_is_no_setting(place: str) -> None:
    with pytest.raises(SettingsError, match=place.replace(".", r"\.")):
        settings_from(parse_assignments([f"{place}=inf"]))


def test_a_problem_names_where_the_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("[training]\nepochs = 'many'\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(
            file,
            environment={"EMR_FL_SET__TRAINING__BATCH_SIZE": "x"},
            overrides=parse_assignments(["training.lr=1"]),
        )
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{file}: training.epochs: wrong type") for line in lines)
    assert any(line.startswith("EMR_FL_SET__…: training.batch_size: wrong type") for line in lines)
    assert any(line.startswith("--set: training.lr: unknown setting") for line in lines)


@pytest.mark.parametrize(
    "tree",
    [
        {"training": {"epochs": "many"}},
        {"training": {"epochs": 1.5}},
        {"training": {"epochs": 0}},
        {"training": {"clip_norm": "x"}},
        {"training": {"clip_norm": 0}},
        {"training": {"validation_share": 0.9}},
        {"training": {"warmup": 2}},
        {"training": {"mask_absent_labels": "perhaps"}},
        {"training": {"adversarial": {"method": "magic"}}},
        {"training": {"device": "tpu"}},
        {"training": 5},
        {"training": {"loss": {"bce": 0, "focal": 0}}},
        {"training": {"augmentation": dict.fromkeys(OPERATORS, 0)}},
        {"training": {"adversarial": {"method": "pgd", "preset": "fast"}}},
        {"sites": {"a": {"source": "a.csv", "rewriting": {"forward": "zh-en"}}}},
        {
            "model": {"name": "tiny"},
            "training": {"augmentation": {"mlm": 0.2}},
            "sites": {"a": {"source": "a.csv"}},
        },
        {"pretraining": {"mask": 0}},
        {"model": {"name": ""}},
        {"model": {"name": 3}},
        {"federation": {"name": "x" * 65}},
        {"federation": {"round_deadline": "soon"}},
        {"sites": 3},
        {"sites": {"南": {"source": "a"}}},
    ],
    ids=str,
)
def test_problems_in_chinese_are_chinese(tree: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "zh")
    with pytest.raises(SettingsError) as caught:
        settings_from(tree)
    text = str(caught.value)
    for english in ("Input", "should", " valid", "expected", "value", "must", "least", "most"):
        assert english not in text, text


MLM = {"model": {"name": "tiny"}, "training": {"augmentation": {"mlm": 0.2}}}


def test_tiny_fills_in_no_words_without_a_trained_head() -> None:
    own = {"rewriting": {"masked_lm": "roberta"}}
    sites = {"a": {"source": "a.csv", **own}, "b": {"source": "b.csv"}}
    with pytest.raises(
        SettingsError, match=r"training\.augmentation\.mlm: tiny has no trained .* at b\b"
    ) as caught:
        settings_from({**MLM, "sites": sites})
    assert caught.value.exit_code == 2
    for way in (
        {"pretraining": {"rounds": 1}},
        {"sites": {"a": sites["a"]}},
        {"model": {"name": "hfl/rbt3"}},
        {"training": {"augmentation": {"mlm": 0.2, "enabled": False}}},
        {"sites": {}},
    ):
        settings_from({**MLM, "sites": sites, **way})


def test_the_sites_own_models_are_taken_from_the_settings_folder(tmp_path: Path) -> None:
    given = {"forward": "zh-en", "backward": str(tmp_path / "elsewhere" / "en-zh")}
    moved = settings_from({"sites": {"a": {"source": "a.csv", "rewriting": given}}}).with_paths_from(tmp_path)
    rewriting = moved.sites["a"].rewriting
    assert rewriting.folders() == {
        "forward": str(tmp_path / "zh-en"),
        "backward": str(tmp_path / "elsewhere" / "en-zh"),
    }
    assert rewriting.masked_lm is None


@pytest.mark.parametrize(("name", "expected"), [("tiny", 2e-3), ("hfl/rbt3", 5e-5)])
def test_pretraining_is_off_and_its_rate_follows_the_model(name: str, expected: float) -> None:
    resolved = settings_from({"model": {"name": name}}).resolved()
    assert resolved.pretraining.rounds == 0
    assert resolved.pretraining.learning_rate == expected
    assert resolved.training.augmentation.rewriter_shares() == {}
    assert settings_from(resolved.as_toml_dict()) == resolved


def test_local_model_folders_are_taken_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    moved = settings_from({"model": {"name": "encoder"}}).with_paths_from(tmp_path)
    assert moved.model.name == str(tmp_path / "encoder")
    for name in ("tiny", "hfl/rbt3"):
        assert settings_from({"model": {"name": name}}).with_paths_from(tmp_path).model.name == name


def test_relative_paths_are_taken_from_the_folder(tmp_path: Path) -> None:
    settings = settings_from(
        {"sites": {"a": {"source": "a.csv"}}, "evaluation": {"sets": {"standard": "s.csv"}}}
    )
    moved = settings.with_paths_from(tmp_path)
    assert moved.sites["a"].source == str(tmp_path / "a.csv")
    assert moved.evaluation.sets.standard == str(tmp_path / "s.csv")
    assert moved.labels.taxonomy == "outpatient-50"


@pytest.mark.parametrize("content", ["a = [", "\x00"])
def test_broken_file_names_itself(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"broken\.toml"):
        load_settings(file)


def test_site_file_paths_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "SITE.toml"
    file.write_text('source = "export.csv"\n', encoding="utf-8")
    assert load_site_settings(file).source == str(tmp_path / "export.csv")


def test_augmentation_without_any_operator_is_refused_and_off_is_not() -> None:
    nothing = dict.fromkeys(OPERATORS, 0)
    with pytest.raises(SettingsError, match="there is nothing to draw from") as caught:
        settings_from({"training": {"augmentation": nothing}}, where="x")
    assert caught.value.exit_code == 2
    settings_from({"training": {"augmentation": {**nothing, "enabled": False}}}, where="x")
    settings_from({"training": {"augmentation": {**nothing, "eda": 0.1}}}, where="x")


def test_every_operator_has_a_share_of_its_name() -> None:
    assert set(OPERATORS) == set(DEFAULT_SHARES) == set(operators())


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.loss.kind=asl", "unknown value"),
        ("training.loss.alpha=1.2", "a number from 0 to 1 or"),
        ("training.loss.alpha=auto", "a number from 0 to 1 or"),
        ("training.loss.alpha=true", "a number from 0 to 1 or"),
        ("training.loss.margin=1", "out of range"),
        ("training.loss.negative_scale=0", "out of range"),
        ("training.mixup.probability=1.5", "out of range"),
        ("training.mixup.alpha=0", "out of range"),
        ("training.averaging.kind=mean", "unknown value"),
        ("training.averaging.decay=1", "out of range"),
        ("evaluation.threshold_shrinkage=-1", "out of range"),
    ],
)
def test_a_wrong_value_is_one_problem_at_its_place(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from(parse_assignments([assignment]))
    assert len(str(caught.value).strip().splitlines()) == 1
    assert str(caught.value).startswith(assignment.partition("=")[0])
    assert message in str(caught.value)


def test_a_loss_of_nothing_is_refused_where_it_would_be_used() -> None:
    nothing = {"bce": 0.0, "focal": 0.0}
    with pytest.raises(SettingsError, match="no loss to minimise"):
        settings_from({"training": {"loss": nothing}})
    settings_from({"training": {"loss": {**nothing, "kind": "asymmetric"}}})


def test_a_threshold_is_fixed_or_fitted_a_label() -> None:
    with pytest.raises(SettingsError, match="give one of the two"):
        settings_from({"evaluation": {"threshold": 0.5, "threshold_shrinkage": 10.0}})


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, ("training.adversarial.top_loss",)),
        ({"adversarial": {"top_loss": 1.0}}, ()),
        ({"adversarial": {"steps": 1}}, ()),
        ({"adversarial": {"method": "none"}, "mixup": {"probability": 0.2}}, ("training.mixup.probability",)),
    ],
)
def test_settings_that_couple_the_records_of_a_batch_are_named(training, expected) -> None:
    assert settings_from({"training": training}).training.couples_records() == expected


def test_the_plain_federation_does_not_mix() -> None:
    plain = settings_from({"training": {"mixup": {"probability": 0.2}}}).plain()
    assert plain.training.couples_records() == ()


def test_settings_of_losses_and_averages_survive_the_file(tmp_path: Path) -> None:
    settings = settings_from({"training": {"loss": {"alpha": "balanced"}, "averaging": {"kind": "swa"}}})
    write_settings(settings, tmp_path / "s.toml")
    assert load_settings(tmp_path / "s.toml", environment={}) == settings
