"""What an update must satisfy before it counts.

Alone: the names, shapes and form of the round's model, an unbroken digest, finite values. Together, when the round closes:
each norm against the median of the others', because one site that sends a hundred times what the others send moves the
mean wherever it likes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import CONTROL, Float32, PayloadReader, beside, squared_norm

NORM_FACTOR = 10.0
"""A norm above this many medians of the others is far from anything that skew between honest sites brings."""


@dataclass(frozen=True)
class NormReport:
    """L2 norm of a site's whole difference, the median of the others', and their ratio (None with nothing to compare).

    `suspicious`: the ratio is above the factor. A norm of 0 is no error (nothing was learned) but worth showing.
    """

    norm: float
    median_of_others: float | None
    ratio: float | None
    suspicious: bool


def check_update(payload: PayloadReader) -> tuple[float, float]:
    """Read an opened update once, a tensor at a time; returns the L2 norms of the difference and of the control variate.

    Names, shapes and form were checked on opening; here digest and values are. Raises DataError.
    """
    payload.verify()
    squares = {name: squared_norm(payload.read(name)) for name in sorted(payload.shapes)}
    controls = {name: square for name, square in squares.items() if name.startswith(beside(CONTROL, ""))}
    return (
        math.sqrt(sum(square for name, square in squares.items() if name not in controls)),
        math.sqrt(sum(controls.values())),
    )


def check_tensors(tensors: Mapping[str, Float32], shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The same for tensors that are in memory already: names, shapes, dtype, finite values; returns the L2 norm."""
    if tensors.keys() != shapes.keys():
        missing, unknown = len(shapes.keys() - tensors.keys()), len(tensors.keys() - shapes.keys())
        raise DataError(
            tr("the tensors are not those of the round's model", "张量与本轮模型不符"),
            got=tr(f"{missing} missing, {unknown} unknown", f"缺 {missing},多 {unknown}"),
        )
    total = 0.0
    for name in sorted(shapes):
        tensor = tensors[name]
        if tensor.dtype != np.float32 or tensor.shape != tuple(shapes[name]):
            raise DataError(
                tr("wrong shape or type", "形状或类型不符"),
                where=name,
                got=f"{tensor.dtype} {tensor.shape}",
                expected=f"float32 {tuple(shapes[name])}",
            )
        if not np.isfinite(tensor).all():
            raise DataError(
                tr("values that are not numbers (NaN or infinite)", "存在非数值(NaN 或无穷)"), where=name
            )
        total += squared_norm(tensor)
    return math.sqrt(total)


def compare_norms(norms: Mapping[str, float], *, factor: float = NORM_FACTOR) -> dict[str, NormReport]:
    """Each site's norm beside the median of the others'. With a single site, or others at 0, there is no ratio."""
    reports: dict[str, NormReport] = {}
    for site in sorted(norms):
        others = [norm for other, norm in norms.items() if other != site]
        middle = median(others) if others else None
        ratio = norms[site] / middle if middle else None
        reports[site] = NormReport(norms[site], middle, ratio, ratio is not None and ratio > factor)
    return reports
