"""What can't go with a masked sum is refused before anything runs, in words."""

from __future__ import annotations

from typing import Any

import pytest

from emr_fl_shared.config import settings_from
from emr_fl_shared.errors import SettingsError

ON = {"secure_aggregation": {"enabled": True}}
THREE = {name: {"source": f"{name}.csv"} for name in ("a", "b", "c")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregation": {"strategy": "scaffold"}}, "scaffold.*needs each site's own tensors"),
        ({"aggregation": {"payload": "int8"}}, "int8.*bits decides what travels"),
        ({"aggregation": {"payload": "bf16"}}, "bf16.*bits decides what travels"),
        ({"sites": dict(list(THREE.items())[:2])}, "needs 3 sites or more, 2 are named"),
        ({"server": {"sites": [f"s{n}" for n in range(101)]}}, "100 sites or fewer, 101"),
        (
            {"privacy": {"secure_aggregation": {"enabled": True, "bits": 8}}},
            r"privacy\.secure_aggregation\.bits",
        ),
        (
            {"privacy": {"secure_aggregation": {"enabled": True, "clip": 0}}},
            r"privacy\.secure_aggregation\.clip",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_from({"privacy": ON, "sites": THREE, **changes}, where="test")


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_every_other_strategy_goes_with_it(strategy: str) -> None:
    given = {"privacy": ON, "sites": THREE, "aggregation": {"strategy": strategy}}
    assert settings_from(given, where="test").privacy.secure_aggregation.enabled


def test_without_it_everything_is_as_before() -> None:
    settings = settings_from({"aggregation": {"strategy": "scaffold", "payload": "int8"}}, where="test")
    assert not settings.privacy.secure_aggregation.enabled


def test_a_policys_smallest_group_is_never_below_three() -> None:
    site = {"source": "a.csv", "policy": {"min_group": 2}}
    with pytest.raises(SettingsError, match=r"policy\.min_group"):
        settings_from({"sites": {"a": site}}, where="test")
