"""What every classifier built here says of its labels, and where its output layer starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def label_settings(labels: Sequence[str]) -> dict[str, Any]:
    """The entries of a transformers configuration for several labels a note."""
    return {
        "problem_type": "multi_label_classification",
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def prior_bias(labels: int) -> float:
    """The bias with which each of so many labels starts at probability 1/K instead of 1/2, so that the first steps are not spent on
    saying no (the prior π of Lin et al., Focal Loss, ICCV 2017, §3.3)."""
    return -math.log(max(1, labels - 1))
