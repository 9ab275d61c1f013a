from __future__ import annotations

import pytest

from emr_fl_deploy.corpus import plan_sizes
from emr_fl_shared.errors import UsageError


def test_default_federation() -> None:
    sizes = plan_sizes()
    assert dict(sizes.sites) == {
        "hospital-a": 2400,
        "hospital-b": 1800,
        "hospital-c": 1200,
        "hospital-d": 600,
    }
    assert (sizes.standard, sizes.validation, sizes.cross_site) == (1200, 700, 600)


def test_the_papers_sizes() -> None:
    sizes = plan_sizes(records=85_000)
    assert (sizes.training, sizes.standard, sizes.validation) == (85_000, 10_000, 10_000)


@pytest.mark.parametrize("sites", [1, 2, 5, 26])
def test_records_are_the_sum_over_sites(sites: int) -> None:
    sizes = plan_sizes(sites=sites, records=1237)
    assert sum(sizes.sites.values()) == 1237
    assert len(sizes.sites) == sites
    counts = list(sizes.sites.values())
    assert counts == sorted(counts, reverse=True)
    if sites > 1:
        assert 3.0 < counts[0] / counts[-1] < 5.0


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"sites": 0}, "--sites"),
        ({"sites": 27}, "--sites"),
        ({"sites": True}, "--sites"),
        ({"records": 199}, "--records"),
        ({"standard": 0}, "--standard"),
        ({"validation": 5}, "--validation"),
        ({"cross_site": -1}, "--cross-site"),
    ],
    ids=lambda value: str(value),
)
def test_out_of_range(arguments: dict[str, int], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_sizes(**arguments)
    assert caught.value.where == option
    assert caught.value.exit_code == 2
    assert "…" in caught.value.expected


def test_sets_can_be_left_out() -> None:
    sizes = plan_sizes(validation=0, cross_site=0)
    assert (sizes.validation, sizes.cross_site) == (0, 0)
