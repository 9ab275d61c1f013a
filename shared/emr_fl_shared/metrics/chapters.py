"""From labels to the chapters of ICD-10 that they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr


def by_chapter(
    chapters: Sequence[str], *matrices: NDArray[np.bool_]
) -> tuple[list[str], list[NDArray[np.bool_]]]:
    """The chapters in the order of their first label, and each matrix bool [n, K] as bool [n, C].

    A chapter holds where one of its labels holds; labels without a chapter (empty) are left out. Raises DataError unless there
    is one entry of `chapters` for each column.
    """
    names = [name for name in dict.fromkeys(chapters) if name]
    for matrix in matrices:
        if matrix.shape[1] != len(chapters):
            raise DataError(
                tr("as many chapters as labels are needed", "章数与标签数不符"),
                got=str(len(chapters)),
                expected=str(matrix.shape[1]),
            )
    columns = [np.array([chapter == name for chapter in chapters]) for name in names]
    return names, [
        np.stack([matrix[:, column].any(axis=1) for column in columns], axis=1)
        if columns
        else np.zeros((len(matrix), 0), dtype=np.bool_)
        for matrix in matrices
    ]
