"""`[privacy]`: what does not go with it is refused, all at once, each with its dotted place; off, nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from emr_fl_shared.config import Settings, settings_from
from emr_fl_shared.config.loading import merge
from emr_fl_shared.errors import SettingsError

DP: dict[str, Any] = {
    "training": {"balance": 0.0, "mask_absent_labels": False, "adversarial": {"top_loss": 1.0}},
    "privacy": {"dp": {"enabled": True}},
}
CENTRAL: dict[str, Any] = {
    "aggregation": {"weighting": "even", "label_rows": "all"},
    "privacy": {"central": {"enabled": True}},
}


def refused(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as error:
        settings_from(tree, where="federation.toml")
    assert error.value.exit_code == 2
    assert all(problem.do for problem in error.value.problems)
    return [problem.where for problem in error.value.problems]


def test_off_by_default_and_nothing_is_refused_then() -> None:
    settings = settings_from({})
    assert not settings.privacy.dp.enabled and not settings.privacy.central.enabled
    assert settings_from({"privacy": {"dp": {"target_epsilon": 1.0}}}).training == settings.training


def test_the_defaults_of_training_are_refused_all_at_once() -> None:
    assert refused({"privacy": {"dp": {"enabled": True}}}) == [
        f"federation.toml: training.{name}"
        for name in ("adversarial.top_loss", "balance", "mask_absent_labels")
    ]


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
@pytest.mark.parametrize("unit", ["record", "patient"])
def test_what_goes_together(accountant: str, unit: str) -> None:
    tree = merge(DP, {"privacy": {"dp": {"accountant": accountant, "unit": unit}}})
    settings = settings_from(tree).resolved()
    assert settings.privacy.dp.unit == unit
    assert settings_from(settings.as_toml_dict()) == settings
    assert settings_from(CENTRAL).privacy.central.enabled
    assert settings_from(merge(DP, CENTRAL)).privacy.dp.enabled


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"training": {"mixup": {"probability": 0.2}}}, "training.mixup.probability"),
        ({"training": {"adversarial": {"top_loss": 0.5}}}, "training.adversarial.top_loss"),
        ({"training": {"adversarial": {"method": "fgsm"}}}, "training.adversarial.method"),
        ({"training": {"adversarial": {"method": "pgd"}}}, "training.adversarial.method"),
        ({"training": {"adversarial": {"method": "vat"}}}, "training.adversarial.method"),
        ({"training": {"adversarial": {"method": "smart"}}}, "training.adversarial.method"),
        ({"training": {"consistency": {"weight": 1.0}}}, "training.consistency.weight"),
        ({"training": {"balance": 0.5}}, "training.balance"),
        ({"training": {"balance_by": "federation"}}, "training.balance_by"),
        ({"training": {"mask_absent_labels": True}}, "training.mask_absent_labels"),
        ({"training": {"loss": {"kind": "distribution_balanced"}}}, "training.loss.kind"),
        ({"training": {"loss": {"kind": "logit_adjusted"}}}, "training.loss.kind"),
        ({"training": {"loss": {"alpha": "balanced"}}}, "training.loss.alpha"),
        ({"training": {"precision": "bf16"}}, "training.precision"),
        ({"labels": {"taxonomy": "column"}}, "labels.taxonomy"),
        ({"aggregation": {"strategy": "scaffold"}}, "aggregation.strategy"),
        ({"aggregation": {"weighting": "effective_labels"}}, "aggregation.weighting"),
    ],
)
def test_one_clear_error_each(change: dict[str, Any], place: str) -> None:
    assert refused(merge(DP, change)) == [f"federation.toml: {place}"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"aggregation": {"weighting": "examples"}}, "aggregation.weighting"),
        ({"aggregation": {"label_rows": "present"}}, "aggregation.label_rows"),
        ({"aggregation": {"strategy": "scaffold"}}, "aggregation.strategy"),
    ],
)
def test_central_noise_needs_even_shares(change: dict[str, Any], place: str) -> None:
    assert refused(merge(CENTRAL, change)) == [f"federation.toml: {place}"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_epsilon": 0},
        {"delta": 0.0},
        {"delta": 0.5},
        {"clipping_norm": 0},
        {"unit": "site"},
        {"accountant": "gdp"},
        {"noise_multiplier": 1.0},
    ],
)
def test_values_that_can_not_be(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    assert refused_plain({"privacy": {"dp": wrong}}) == [f"privacy.dp.{name}"]


def refused_plain(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as error:
        settings_from(tree)
    return [problem.where for problem in error.value.problems]


def test_methods_of_training_are_the_ones_that_the_door_knows() -> None:
    """A method that is added is refused until somebody has verified it."""
    from emr_fl_client.adversarial import known_methods
    from emr_fl_client.training.losses import known_losses
    from emr_fl_shared.config.private import VERIFIED_LOSSES, VERIFIED_METHODS

    assert set(VERIFIED_METHODS) < set(known_methods())
    assert set(VERIFIED_LOSSES) < set(known_losses())
    assert Settings().training.couples_records() == ("training.adversarial.top_loss",)
