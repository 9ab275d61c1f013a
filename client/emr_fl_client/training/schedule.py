"""The learning rate over the whole federation: every site reads it off the round's number, nothing is kept between rounds."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["linear", "cosine", "constant"]


def progress(round_number: int, rounds: int, step: int, steps: int) -> float:
    """How far the federation is, in (0, 1): (round − 1 + (step + ½) / steps) / rounds.

    `round_number` counts from 1, `step` from 0. The middle of the step is taken, so that the first step
    is not lost to a rate of 0 and the last one neither.
    """
    return (round_number - 1 + (step + 0.5) / max(steps, 1)) / max(rounds, 1)


def rate_factor(at: float, *, warmup: float = 0.06, decay: Decay = "linear", floor: float = 0.0) -> float:
    """What the learning rate is multiplied by at progress `at`: rises to 1 over `warmup`, then falls to `floor`.

    Args:
        warmup: share of the whole federation, [0, 1].
        decay: `linear`, `cosine` (half a period), or `constant` after the warm-up.
    """
    if at < warmup:
        return at / warmup
    if decay == "constant" or warmup >= 1.0:
        return 1.0
    done = min((at - warmup) / (1.0 - warmup), 1.0)
    left = 1.0 - done if decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return floor + (1.0 - floor) * left
