"""Noise: the right moments, the whole tail, never the same twice, and nothing of a training seed in it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import stats

from emr_fl_shared.privacy import NoiseStream, noise

KEY = b"k" * 32


def test_chacha20_is_the_one_of_rfc_8439() -> None:
    # RFC 8439, appendix A.1, test vector 1: key, counter and nonce of zeros
    assert NoiseStream(bytes(32)).bytes(16).hex() == "76b8e0ada0f13d90405d6ae55386bd28"


def test_moments_of_a_gaussian() -> None:
    count, deviation = 400_000, 3.0
    drawn = NoiseStream(KEY).normal((count,), deviation).astype(np.float64) / deviation
    # standard errors of mean, variance, third and fourth moment of n Gaussian draws: 1, √2, √15, √96 over √n
    for found, expected, error in (
        (drawn.mean(), 0.0, 1.0),
        (drawn.var(), 1.0, 2**0.5),
        ((drawn**3).mean(), 0.0, 15**0.5),
        ((drawn**4).mean(), 3.0, 96**0.5),
    ):
        assert abs(found - expected) < 5 * error / count**0.5
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    # both halves of Box–Muller, and neighbours, are independent
    half = count // 2
    for other in (drawn[half:], np.roll(drawn, 1)[:half]):
        assert abs(np.corrcoef(drawn[:half], other)[0, 1]) < 5 / half**0.5


def test_the_tail_is_there() -> None:
    drawn = NoiseStream(KEY).normal((2_000_000,), 1.0)
    beyond = int((np.abs(drawn) > 4.0).sum())
    assert abs(beyond - 2_000_000 * 2 * stats.norm.sf(4.0)) < 5 * 127**0.5


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2**20 + 3,)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    drawn = NoiseStream(KEY).normal(shape, 1.0)
    assert drawn.shape == shape and drawn.dtype == np.float32
    assert np.isfinite(drawn).all() and (np.atleast_1d(drawn) != 0).all()


def test_a_shared_seed_does_not_repeat_it() -> None:
    """Planted mistake: noise from a generator that a seed sets. Here nothing but the system's own randomness does."""
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        drawn.append(NoiseStream().normal((64,), 1.0))
    assert (drawn[0] != drawn[1]).all()
    state = torch.get_rng_state()
    NoiseStream().normal((64,), 1.0)
    assert torch.equal(state, torch.get_rng_state())


def test_the_same_key_is_the_same_stream_and_goes_on() -> None:
    one, other = NoiseStream(KEY), NoiseStream(KEY)
    assert one.bytes(10) == other.bytes(10)
    first = one.normal((8,), 1.0)
    assert (first == other.normal((8,), 1.0)).all()
    assert (first != one.normal((8,), 1.0)).all()
    assert one.seed() != one.seed()


def test_no_block_is_used_twice_where_a_nonce_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_PIECE_BYTES", 64)
    stream = NoiseStream(KEY)
    blocks = [stream.bytes(64) for _ in range(5)]
    assert len(set(blocks)) == 5


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.5, 1.0])
def test_poisson_sampling(rate: float) -> None:
    count = 200_000
    drawn = NoiseStream(KEY).bernoulli(count, rate)
    assert abs(int(drawn.sum()) - rate * count) <= 5 * (rate * (1 - rate) * count) ** 0.5
