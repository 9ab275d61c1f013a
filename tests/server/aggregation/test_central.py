"""Central differential privacy: what a site can change is bounded, the noise is what it says, and its count survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emr_fl_server.aggregation import CentralNoise, Spool, advance
from emr_fl_server.aggregation.fedavg import FedAvg
from emr_fl_server.central_budget import FILE, CentralBudget
from emr_fl_shared.config.settings import CentralPrivacy
from emr_fl_shared.errors import BudgetSpent, PolicyError
from emr_fl_shared.payload import pack_tensors
from emr_fl_shared.privacy import NoiseStream, Spent, epsilon_of

SHAPES = {"w": (300, 200), "b": (7,)}
KEY = b"k" * 32
SETTINGS = CentralPrivacy(enabled=True, target_epsilon=4.0, delta=1e-3, clipping_norm=2.0)


def zeros() -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}


def spool(folder: Path, *sizes: float) -> Spool:
    """Sites whose updates have these norms, in directions of their own."""
    filled = Spool(folder, SHAPES, "fp32")
    for site, size in enumerate(sizes):
        generator = np.random.default_rng(site)
        update = {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
        norm = np.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in update.values()))
        scaled = {name: (array * (size / norm)).astype(np.float32) for name, array in update.items()}
        filled.accept(f"site-{site}", pack_tensors(scaled).data, weight=1.0 + site)
    return filled


def mean_of(updates: Spool, noise: CentralNoise) -> dict[str, np.ndarray]:
    tensors, _ = advance(FedAvg(), zeros(), {}, updates.updates, noise=noise)
    return tensors


def norm_of(tensors: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in tensors.values())))


def test_a_site_changes_the_mean_by_no_more_than_its_share_of_the_bound(tmp_path: Path) -> None:
    """The noise of both draws is the same stream, so that the difference is the site's alone."""
    with_it = mean_of(spool(tmp_path / "a", 1.0, 0.5, 1000.0), CentralNoise(2.0, 1.0, NoiseStream(KEY)))
    without = mean_of(spool(tmp_path / "b", 1.0, 0.5, 0.0), CentralNoise(2.0, 1.0, NoiseStream(KEY)))
    difference = norm_of({name: with_it[name] - without[name] for name in SHAPES})
    assert difference == pytest.approx(2.0 / 3, rel=1e-4)
    assert difference <= 2.0 / 3 * (1 + 1e-4)


def test_small_updates_are_averaged_evenly(tmp_path: Path) -> None:
    updates = spool(tmp_path, 1.0, 1.5)
    found = mean_of(updates, CentralNoise(2.0, 0.0, NoiseStream(KEY)))
    expected = zeros()
    for update in updates.updates:
        with update.open() as reader:
            for name in SHAPES:
                expected[name] += reader.read(name) / 2
    for name in SHAPES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-8)


def test_the_noise_is_as_large_as_it_says(tmp_path: Path) -> None:
    found = mean_of(spool(tmp_path, 0.0, 0.0, 0.0, 0.0), CentralNoise(2.0, 3.0))
    drawn = np.concatenate([array.ravel() for array in found.values()]).astype(np.float64)
    assert drawn.std() == pytest.approx(3.0 * 2.0 / 4, rel=5 / (2 * len(drawn)) ** 0.5)
    assert abs(drawn.mean()) < 5 * 1.5 / len(drawn) ** 0.5
    again = mean_of(spool(tmp_path / "again", 0.0, 0.0, 0.0, 0.0), CentralNoise(2.0, 3.0))
    assert (found["w"] != again["w"]).all()


def test_the_budget_lasts_as_long_as_planned(tmp_path: Path) -> None:
    budget = CentralBudget(tmp_path, SETTINGS, rounds=3)
    assert budget.epsilon() == 0.0
    noises = [CentralBudget(tmp_path, SETTINGS, rounds=3).spend().noise_multiplier for _ in range(3)]
    assert len(set(noises)) == 1
    assert budget.epsilon() == epsilon_of([Spent(noises[0], 1.0, 3)], 1e-3, "rdp")
    assert 0.99 * 4.0 < budget.epsilon() <= 4.0
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(BudgetSpent):
        budget.spend()
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"means": 1}'])
def test_a_damaged_count_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(PolicyError, match="damaged"):
        CentralBudget(tmp_path, SETTINGS, rounds=3).spend()
    assert (tmp_path / FILE).read_bytes() == content
