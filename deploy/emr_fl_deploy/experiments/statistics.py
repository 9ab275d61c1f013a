"""Figures over seeds: mean ± sd, Student's interval of the mean, and paired comparisons with a reference.

A seed changes the data split, the first weights and every other draw, and on the sample federation the corpus; intervals here are
over those, not over records. They are for each comparison alone: nothing is corrected for their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95


def spread(values: Sequence[float]) -> dict[str, Any]:
    """`n`, `mean`, `sd` (n − 1) and the ends `low`, `high` of the 95 % t-interval; `None` where n is too small for them."""
    n = len(values)
    if n == 0:
        return {"n": 0, "mean": None, "sd": None, "low": None, "high": None}
    mean = float(np.mean(values))
    if n == 1:
        return {"n": 1, "mean": mean, "sd": None, "low": None, "high": None}
    sd = float(np.std(values, ddof=1))
    half = _quantile(n - 1) * sd / math.sqrt(n)
    return {"n": n, "mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def paired_difference(own: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any]:
    """`spread` of own − reference over the seeds that both have."""
    return spread([own[seed] - reference[seed] for seed in sorted(own.keys() & reference.keys())])


def paired_ratio(own: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any]:
    """`spread` of own ÷ reference over the seeds that both have: on the log scale, so `mean` is the geometric one and `sd` that of
    the logarithms. Seeds with a value that is not above 0 are left out."""
    logs = [
        math.log(own[seed] / reference[seed])
        for seed in sorted(own.keys() & reference.keys())
        if own[seed] > 0 and reference[seed] > 0
    ]
    found = spread(logs)
    return {
        name: math.exp(value) if name in ("mean", "low", "high") and value is not None else value
        for name, value in found.items()
    }


def _quantile(freedom: int) -> float:
    """Student's t at (1 + `LEVEL`) / 2."""
    from scipy.stats import t

    return float(t.ppf((1.0 + LEVEL) / 2.0, freedom))
