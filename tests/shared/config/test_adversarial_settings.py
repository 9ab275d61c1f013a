"""`[training.adversarial]` and `[training.consistency]`: what is left out, presets, combinations without a meaning."""

from __future__ import annotations

import math

import pytest

from emr_fl_client.adversarial import AdversarialSettings, known_methods
from emr_fl_client.site import training_settings
from emr_fl_shared.config import Settings, settings_from
from emr_fl_shared.errors import SettingsError


def resolved(**adversarial: object) -> Settings:
    return settings_from({"training": {"adversarial": adversarial}}).resolved()


def algorithm(**adversarial: object) -> AdversarialSettings:
    """What the algorithm is given at a site, after the settings went there as plain data."""
    sent = resolved(**adversarial).training.model_dump(mode="json")
    return training_settings(Settings(training=sent).training).adversarial


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"method": "freelb", "steps": 2, "step_size": 0.04, "weight": 1.0, "top_loss": 0.5}),
        ({"steps": 4}, {"step_size": 0.02}),
        ({"method": "fgsm"}, {"steps": 1, "weight": 0.5, "top_loss": 1.0, "radius": 0.08}),
        ({"method": "pgd"}, {"steps": 2, "step_size": 0.04, "weight": 1.0, "top_loss": 1.0}),
        ({"method": "vat"}, {"steps": 1, "regularisation": 1.0, "start": 0.01, "norm": "l2"}),
        (
            {"method": "smart", "top_loss": 0.5},
            {"norm": "linf", "bregman": 1.0, "momentum": 0.99, "teacher_every": 1, "top_loss": 0.5},
        ),
        ({"phases": [0, 2]}, {"phases": (0, 2), "step_size": None}),
        ({"preset": "fast"}, {"steps": 2, "top_loss": 0.5, "every": 3}),
        ({"preset": "balanced"}, {"steps": 2, "top_loss": 0.5, "every": 1}),
        ({"preset": "robust"}, {"steps": 2, "top_loss": 0.9, "every": 1}),
        ({"preset": "robust", "top_loss": 1.0}, {"top_loss": 1.0}),
        # printed in the paper: K = 5, ε = 1e-5, step 1e-3, α = 0.5, as they are and not relative
        (
            {"preset": "paper"},
            {
                "method": "freelb",
                "steps": 5,
                "radius": 1e-5,
                "step_size": 1e-3,
                "weight": 0.5,
                "relative": False,
            },
        ),
        ({"preset": "paper", "method": "pgd", "steps": 3}, {"steps": 3, "radius": 1e-5, "relative": False}),
        ({"preset": "paper", "method": "fgsm"}, {"steps": 1, "radius": 1e-5, "weight": 0.5}),
        (
            {"preset": "paper", "method": "smart"},
            {"steps": 1, "radius": 1e-5, "step_size": 1e-3, "start": 1e-5},
        ),
        (
            {"preset": "paper", "method": "vat"},
            {"steps": 1, "radius": 1e-5, "relative": False, "step_size": None},
        ),
        ({"method": "none"}, {"method": "none"}),
    ],
    ids=str,
)
def test_what_is_left_out_follows_method_and_preset(given, expected) -> None:
    settings = algorithm(**given)
    assert {key: getattr(settings, key) for key in expected} == expected


def test_the_methods_of_the_settings_are_those_of_the_registry() -> None:
    for name in known_methods():
        assert algorithm(method=name).method == name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "vat", "weight": 0.5}, "weight has no meaning for vat: it is for fgsm, pgd, freelb"),
        ({"method": "vat", "step_size": 0.1}, "step_size has no meaning for vat"),
        ({"method": "fgsm", "step_size": 0.1}, "step_size has no meaning for fgsm"),
        ({"regularisation": 1.0}, "regularisation has no meaning for freelb: it is for vat, smart"),
        ({"method": "pgd", "start": 0.1}, "start has no meaning for pgd"),
        ({"method": "vat", "bregman": 1.0}, "bregman has no meaning for vat: it is for smart"),
        ({"method": "vat", "momentum": 0.9}, "momentum has no meaning"),
        ({"method": "vat", "teacher_every": 2}, "teacher_every has no meaning"),
        ({"method": "fgsm", "steps": 2}, "fgsm takes one step"),
        ({"method": "fgsm", "phases": [0, 2]}, "fgsm takes one step"),
        ({"phases": [0, 0]}, "all phases are 0"),
        ({"method": "smart", "momentum": 0.0}, "bregman does nothing"),
        ({"phases": [-1]}, "phases"),
        ({"phases": 3}, "a list"),
        ({"phases": [1] * 21}, "at most 20"),
        ({"preset": "magic"}, "preset"),
        ({"method": "pgd", "preset": "fast"}, 'the preset fast is for method = "freelb"'),
        ({"method": "vat", "start": 0.0}, "> 0"),
        ({"method": "smart", "momentum": 1.0}, "< 1"),
        ({"method": ["vat"]}, "method"),
        ({"weight": math.nan}, "weight"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused(given, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolved(**given)
    assert "training.adversarial" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "vat", "weight": 0.5},
        {"method": "fgsm", "steps": 2},
        {"phases": [0]},
        {"phases": 3},
        {"phases": [1] * 21},
        {"method": "smart", "momentum": 0.0},
        {"method": "vat", "preset": "robust"},
    ],
    ids=str,
)
def test_refusals_in_chinese_are_chinese(given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMR_FL_LANG", "zh")
    with pytest.raises(SettingsError) as caught:
        resolved(**given)
    for english in ("Input", "should", "has no", "expected", "takes", "list", "least", "most", "does"):
        assert english not in str(caught.value)


@pytest.mark.parametrize("method", known_methods())
@pytest.mark.parametrize("preset", ["balanced", "paper"])
def test_resolved_settings_can_be_read_again(method: str, preset: str) -> None:
    settings = resolved(method=method, preset=preset)
    assert settings_from(settings.as_toml_dict()) == settings
    assert settings.resolved() == settings


@pytest.mark.parametrize("method", known_methods())
def test_the_plain_baseline_of_any_method_is_accepted(method: str) -> None:
    settings = settings_from(
        {"training": {"adversarial": {"method": method}, "consistency": {"weight": 2.0}}}
    ).resolved()
    sent = settings.plain().training.model_dump(mode="json")
    given = training_settings(Settings(training=sent).training)
    assert given.adversarial.method == "none"
    assert given.consistency.weight == 0.0


def test_consistency_and_parts_reach_the_training() -> None:
    tree = {"training": {"consistency": {"weight": 2.0, "probability": 0.5}, "micro_batch": 8}}
    given = training_settings(settings_from(tree).resolved().training)
    assert (given.consistency.weight, given.consistency.probability, given.micro_batch) == (2.0, 0.5, 8)
    default = training_settings(Settings().resolved().training)
    assert (default.consistency.weight, default.micro_batch) == (0.0, None)
