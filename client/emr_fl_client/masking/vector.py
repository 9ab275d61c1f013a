"""From a difference to the masked vector that leaves, a tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.payload import PayloadReader, Shapes, moved_rows, squared_norm
from emr_fl_shared.secure_aggregation.fixed_point import FixedPoint, Weights
from emr_fl_shared.secure_aggregation.masked_payload import WEIGHTS, order, pack_masked
from emr_fl_shared.secure_aggregation.masking import KeyStream, Sign
from emr_fl_shared.secure_aggregation.parameters import Parameters


def masked_vector(
    update: bytes,
    shapes: Shapes,
    parameters: Parameters,
    *,
    members: int,
    weight: float,
    label_tensors: Sequence[str],
    streams: Sequence[tuple[KeyStream, Sign]],
) -> bytes:
    """The payload of a masked update.

    `update`: an fp32 payload of `shapes`; its whole L2 norm is scaled down to `parameters.max_norm` and each value cut to ±
    `parameters.clip`, then it is multiplied by its weight. `label_tensors` have a row per label. Raises DataError for values
    that are not numbers.
    """
    weights = Weights(parameters.largest_weight, members)
    number = FixedPoint(parameters.bits, parameters.clip, members)
    steps = weights.steps(weight)
    masked: dict[str, NDArray[Any]] = {}
    with PayloadReader(update, shapes, "fp32") as reader:
        norm = math.sqrt(sum(squared_norm(reader.read(name)) for name in shapes))
        scale = np.float32(min(1.0, parameters.max_norm / norm) if norm else 1.0)
        moved = moved_rows(reader, label_tensors)
        for name in order(shapes):
            if name == WEIGHTS:
                masked[name] = weights.vector(steps, moved)
            else:
                values = reader.read(name)
                if scale < 1:
                    values *= scale
                masked[name] = number.encode(values, weights.share(steps))
            for stream, sign in streams:
                stream.apply(masked[name], sign)
    return pack_masked(masked)
