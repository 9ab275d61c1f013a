"""What a series of noisy steps has spent: opacus' accountants over a history, and the noise that a budget needs.

A step is the Poisson-subsampled Gaussian mechanism: each unit takes part with probability q, the sum of what the units give (norm
at most C each) gets noise N(0, (σC)²).

* `rdp`: Mironov, Talwar, Zhang, *Rényi Differential Privacy of the Sampled Gaussian Mechanism*, 2019, §3.3, turned into (ε, δ) by
  Balle et al., AISTATS 2020, Theorem 21.
* `prv`: Gopi, Lee, Wutschitz, *Numerical Composition of Differential Privacy*, NeurIPS 2021; the upper bound of its estimate. 10 to
  13 % below `rdp` for the same steps: figures of the two are not to be compared.

Both are upper bounds. Deviation from opacus' own orders of `rdp`: fewer between 2 and 11, which costs less than 0.3 % where that was
looked at, and more above 63, where a small ε has its best one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

AccountantName = Literal["rdp", "prv"]

ORDERS: tuple[float, ...] = (
    *(order / 10 for order in range(11, 20)),
    *(order / 5 for order in range(10, 25)),
    *(order / 2 for order in range(10, 24)),
    *range(12, 65),
    *(72, 80, 96, 112, 128, 160, 192, 256, 384, 512),
)
SMALLEST_NOISE, LARGEST_NOISE = 0.2, 1e4
_PRECISION, _WORTH = 1e-3, 0.01


@dataclass(frozen=True, slots=True)
class Spent:
    """`steps` noisy steps with the same `noise_multiplier` σ and `sample_rate` q."""

    noise_multiplier: float
    sample_rate: float
    steps: int


def epsilon_of(history: Iterable[Spent], delta: float, accountant: AccountantName) -> float:
    """ε of all steps together at `delta`; 0 for none. Equal parts are counted together, whatever their order."""
    steps: dict[tuple[float, float], int] = {}
    for spent in history:
        key = (spent.noise_multiplier, spent.sample_rate)
        steps[key] = steps.get(key, 0) + spent.steps
    parts = tuple((*key, count) for key, count in sorted(steps.items()) if count)
    if not parts:
        return 0.0
    if accountant == "rdp":
        total = np.sum([count * _rdp(sigma, rate) for sigma, rate, count in parts], axis=0)
        return _converted(total, delta)
    return _prv(parts, delta)


@lru_cache(maxsize=256)
def _rdp(sigma: float, rate: float) -> NDArray[np.float64]:
    """Rényi divergence of one step at each order."""
    from opacus.accountants.analysis.rdp import compute_rdp

    found = compute_rdp(q=rate, noise_multiplier=sigma, steps=1, orders=list(ORDERS))
    return np.asarray(found, dtype=np.float64)


def _converted(divergences: NDArray[np.float64], delta: float) -> float:
    from opacus.accountants.analysis.rdp import get_privacy_spent

    with warnings.catch_warnings():  # that the best order is the last one costs tightness, not truth
        warnings.simplefilter("ignore", UserWarning)
        epsilon, _ = get_privacy_spent(orders=list(ORDERS), rdp=divergences.tolist(), delta=delta)
    return max(0.0, float(epsilon))


@lru_cache(maxsize=256)
def _prv(parts: tuple[tuple[float, float, int], ...], delta: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant: Any = PRVAccountant()
    accountant.history = list(parts)
    try:
        # of logarithms of 0 where q is 1, which it leaves out again, and of the orders that it looks at on the way
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return max(0.0, float(accountant.get_epsilon(delta)))
    except (ValueError, RuntimeError, ArithmeticError):  # it can't discretise steps with so little noise
        return math.inf


def noise_for(
    target: float,
    delta: float,
    planned: Spent,
    accountant: AccountantName,
    history: Iterable[Spent] = (),
) -> float | None:
    """The least σ (to 0.1 %) with which `planned` steps (their own σ does not count) fit into ε = `target` after `history`.

    `None` if no noise is enough, or less than 1 % of the budget is left: what could be trained with that is nothing.
    """
    before = list(history)

    def fits(sigma: float) -> bool:
        plan = Spent(sigma, planned.sample_rate, planned.steps)
        return epsilon_of([*before, plan], delta, accountant) <= target

    if epsilon_of(before, delta, accountant) > (1.0 - _WORTH) * target:
        return None
    high = 1.0
    while not fits(high):
        high *= 2.0
        if high > LARGEST_NOISE:
            return None
    low = high / 2.0
    while low >= SMALLEST_NOISE and fits(low):
        high, low = low, low / 2.0
    while high - low > _PRECISION * high:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
