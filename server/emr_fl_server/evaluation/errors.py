"""The errors of the final model that it was most sure of, on the server's own texts, with the words that they rest on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.evaluation.sets import HeldOutSet
from emr_fl_shared.metrics import Decision
from emr_fl_shared.model.attribution import WordWeight, integrated_gradients
from emr_fl_shared.model.encoder import Encoder

SHOWN = 15
"""Errors of each kind."""


@dataclass(frozen=True)
class ConfidentError:
    """`given`: a label with a high probability that is not true; `missed`: a true one with a low probability.

    `label` and `true` are columns of the set's truth; `words` add up to the label's logit above that of an empty text.
    """

    kind: Literal["given", "missed"]
    label: int
    probability: float
    true: tuple[int, ...]
    text: str = field(repr=False)
    words: tuple[WordWeight, ...] = field(repr=False)


def confident_errors(
    encoder: Encoder, held_out: HeldOutSet, probabilities: NDArray[np.float64], decision: Decision
) -> list[ConfidentError]:
    """At most `SHOWN` of each kind, the surest first, one a record and kind. `probabilities` float [n, K] are those of the model as
    it stands in `encoder`."""
    decided = decision.decide(probabilities)
    given = np.where(decided & ~held_out.y, probabilities, -1.0)
    missed = np.where(~decided & held_out.y, 1.0 - probabilities, -1.0)
    found: list[ConfidentError] = []
    kinds: tuple[tuple[Literal["given", "missed"], NDArray[np.float64]], ...] = (
        ("given", given),
        ("missed", missed),
    )
    for kind, sureness in kinds:
        surest = sureness.max(axis=1)
        for row in np.argsort(-surest, kind="stable")[:SHOWN]:
            if surest[row] < 0.0:
                break
            label, text = int(sureness[row].argmax()), held_out.texts[row]
            (why,) = integrated_gradients(encoder, text, [label])
            true = tuple(int(column) for column in np.flatnonzero(held_out.y[row]))
            found.append(ConfidentError(kind, label, float(probabilities[row, label]), true, text, why.words))
    return found
