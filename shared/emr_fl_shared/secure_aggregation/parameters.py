"""What all members of a session must agree on. Every site signs it with its keys, so that a server can't tell them different things."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["hostile", "curious"]

FEWEST_SURVIVORS = 3
"""A sum of two updates is an open letter between the two."""
MOST_MEMBERS = 100
"""Every pair exchanges shares: a message of the size of the square of this."""


class Parameters(BaseModel):
    """The settings of `[privacy.secure_aggregation]` that decide what a masked value means."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Mode
    bits: Literal[16, 32]
    """The ring: masked values are integers modulo 2^bits."""
    clip: Annotated[float, Field(gt=0.0)]
    """Values of a difference are cut to ± this before they are counted in steps."""
    largest_weight: Annotated[float, Field(gt=0.0)]
    max_norm: Annotated[float, Field(gt=0.0)]
    """L2 norm that a site's whole difference is scaled down to where it is larger."""


def threshold(members: int, mode: Mode) -> int:
    """How many members' shares open a secret: ⌊2n/3⌋ + 1 against a hostile server, ⌊n/2⌋ + 1 against a curious one.

    Against a hostile server two disjoint sets of members could be told different survivors; with more than two thirds no two lists
    can both find enough signatures (Bonawitz et al. 2017, §6.2 and Theorem 6.5).
    """
    return (2 * members // 3 if mode == "hostile" else members // 2) + 1
