"""One clip a unit: Abadi et al., *Deep Learning with Differential Privacy*, CCS 2016, Algorithm 1, for units of one record or more.

    ḡ_u = g_u · min(1, C / ‖g_u‖₂),   g_u = Σ_{records of u} Σ_{passes} g

    C → `norm`    u → `units`    the sum over all u goes into `total`, to which the noise is added once

The norm is that of all parameters together. A unit whose gradient is not finite counts as 0: an error instead would tell that
there is such a unit.

Shapes: gradients [B, *shape], for an embedding's weight [B, L, H] with rows [B, L] (see `gradients.py`); units int64 [B], 0 … U − 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from emr_fl_client.training.private.gradients import RecordGradients

_SLACK = 1e-6
"""Float32 rounding must not carry a clipped gradient over the bound."""

Total = Mapping[nn.Parameter, Tensor]


def add_clipped(gradients: RecordGradients, units: Tensor, norm: float, total: Total) -> Tensor:
    """Add the clipped gradients of all units to `total`, in place; returns the norms before, [U]."""
    count = int(units.max()) + 1
    single = count == len(units)  # units are numbered in order, so each is its record
    parts: dict[nn.Parameter, tuple[Tensor, Tensor | None, Tensor | None]] = {}
    squares = next(iter(total)).new_zeros(count)
    for parameter in total:
        found = gradients.of(parameter)
        if found is None:
            continue
        rows = gradients.rows(parameter)
        if rows is not None:
            parts[parameter] = _by_row(found, rows, units, len(parameter))
        elif single:
            parts[parameter] = (found, None, None)
        else:
            summed = found.new_zeros(count, *found.shape[1:]).index_add_(0, units, found)
            parts[parameter] = (summed, None, None)
        values, owner, _ = parts[parameter]
        square = values.flatten(start_dim=1).square().sum(dim=1)
        squares += square if owner is None else torch.zeros_like(squares).index_add_(0, owner, square)
    norms = squares.sqrt()
    usable = torch.isfinite(norms)
    factors = torch.where(usable, (norm / (norms * (1.0 + _SLACK))).clamp(max=1.0), 0.0)
    for parameter, (values, owner, place) in parts.items():
        factor = factors if owner is None else factors[owner]
        if not bool(usable.all()):
            values = torch.where(_column(factor, values) > 0.0, values, 0.0)  # 0 × NaN is NaN
        if place is None:
            total[parameter].add_(torch.tensordot(factor, values, dims=1))
        else:
            total[parameter].index_add_(0, place, values * factor[:, None])
    return norms


def _by_row(found: Tensor, rows: Tensor, units: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of an embedding's rows, one for each (unit, row) that occurs: values [N, H], unit and row of each [N]."""
    keys, position = torch.unique(units[:, None] * size + rows, return_inverse=True)
    values = found.new_zeros(len(keys), found.shape[-1])
    values.index_add_(0, position.flatten(), found.reshape(-1, found.shape[-1]))
    return values, keys // size, keys % size


def _column(factor: Tensor, like: Tensor) -> Tensor:
    return factor.reshape(-1, *([1] * (like.ndim - 1)))
