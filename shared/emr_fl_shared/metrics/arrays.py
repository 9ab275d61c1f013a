"""What every score takes: truth `y` bool [n, K] and probabilities `p` float [n, K], checked once and clearly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


def truth_matrix(y: ArrayLike, *, where: str = "y") -> BoolArray:
    """`y` as bool [n, K]; n and K ≥ 1. Raises DataError for another shape or for values other than 0 and 1."""
    matrix: NDArray[Any] = np.asarray(y)
    _check_two_dimensional(matrix, where)
    if matrix.dtype != np.bool_:
        if not np.isin(matrix, (0, 1)).all():
            raise DataError(
                tr("labels must be 0 or 1", "标签只能是 0 或 1"), where=where, expected="bool [n, K]"
            )
        matrix = matrix.astype(np.bool_)
    return matrix


def probability_matrix(p: ArrayLike, *, where: str = "p") -> FloatArray:
    """`p` as float64 [n, K] within [0, 1]. Raises DataError for NaN, infinity or a value outside."""
    matrix = finite_matrix(p, where=where)
    if matrix.min() < 0.0 or matrix.max() > 1.0:
        raise DataError(
            tr("probabilities outside [0, 1]", "概率超出 [0, 1]"),
            where=where,
            got=f"{matrix.min():.4g} … {matrix.max():.4g}",
            expected="0 … 1",
        )
    return matrix


def finite_matrix(values: ArrayLike, *, where: str) -> FloatArray:
    """`values` as float64 [n, K]. Raises DataError when a value is NaN or infinite."""
    matrix: FloatArray = np.asarray(values, dtype=np.float64)
    _check_two_dimensional(matrix, where)
    wrong = int(matrix.size - np.isfinite(matrix).sum())
    if wrong:
        raise DataError(
            tr("values that are not numbers (NaN or infinite)", "存在非数值(NaN 或无穷)"),
            where=where,
            got=f"{wrong} / {matrix.size}",
            do=tr("a model that diverged gives such values", "模型发散时会出现此类数值"),
        )
    return matrix


def paired(y: ArrayLike, p: ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Truth and probabilities of one set, of the same shape [n, K]."""
    truth, probabilities = truth_matrix(y), probability_matrix(p)
    check_same_shape(truth, probabilities)
    return truth, probabilities


def paired_decisions(y: ArrayLike, predicted: ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Truth and decisions of one set, both bool [n, K]."""
    truth, decisions = truth_matrix(y), truth_matrix(predicted, where="predicted")
    check_same_shape(truth, decisions)
    return truth, decisions


def check_same_shape(truth: NDArray[Any], other: NDArray[Any]) -> None:
    """Raises DataError when truth and prediction are not about the same records and labels."""
    if truth.shape != other.shape:
        raise DataError(
            tr("truth and prediction differ in shape", "真值与预测的形状不同"),
            got=str(other.shape),
            expected=str(truth.shape),
        )


def _check_two_dimensional(matrix: NDArray[Any], where: str) -> None:
    if matrix.ndim != 2:
        raise DataError(
            tr("a matrix of records × labels is needed", "需要“记录 × 标签”矩阵"),
            where=where,
            got=str(matrix.shape),
            expected="[n, K]",
        )
    if 0 in matrix.shape:
        raise DataError(
            tr("nothing to score: no record or no label", "没有可评分的记录或标签"),
            where=where,
            got=str(matrix.shape),
        )
