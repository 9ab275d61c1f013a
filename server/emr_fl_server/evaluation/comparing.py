"""Two models on the same held-out sets: differences with intervals and a test that counts how often it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.metrics import holm, paired_differences

Decisions = Mapping[str, NDArray[np.bool_]]
"""By held-out set, bool [n, K]."""


def compare(
    sets: Mapping[str, HeldOutSet], ours: Decisions, others: Mapping[str, Decisions], *, seed: int
) -> list[dict[str, Any]]:
    """A row for each other model, set that both decided, and measure: {against, set, measure, difference, interval, p, p_holm}.

    `difference` is ours minus the other's; `p` is of the paired bootstrap, whole patients drawn, and `p_holm` corrects it for
    the number of rows.
    """
    rows: list[dict[str, Any]] = []
    for against, theirs in others.items():
        for name in ours:
            if name not in theirs:
                continue
            held_out = sets[name]
            found = paired_differences(
                held_out.y, ours[name], theirs[name], seed=seed, patients=held_out.clusters
            )
            rows += [
                {"against": against, "set": name, "measure": measure, **difference.to_json()}
                for measure, difference in found.items()
            ]
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows
