"""Held-out sets, and a validation set taken out of the standard one where none is given."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.preparation import model_text

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class HeldOutSet:
    """Texts with truth `y` bool [n, K] and the (pseudonymous) patient of each record; "" where unknown.

    `groups`: by dimension (`sex`, `age`, `department`, `year`) the group of each record, "" where unknown; empty: not known at all.
    """

    name: str
    texts: list[str] = field(repr=False)
    y: NDArray[np.bool_] = field(repr=False)
    patients: list[str] = field(repr=False)
    groups: Mapping[str, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.y.ndim != 2 or self.y.dtype != np.bool_:
            raise DataError(
                tr("truth must be a matrix of records × labels", "真值必须为“记录 × 标签”矩阵"),
                where=self.name,
                got=f"{self.y.dtype} {self.y.shape}",
                expected="bool [n, K]",
            )
        lengths = [len(self.texts), len(self.y), len(self.patients), *map(len, self.groups.values())]
        if len(set(lengths)) > 1:
            raise DataError(
                tr("texts, labels and patients differ in number", "文本、标签与患者的数量不一致"),
                where=self.name,
                got=", ".join(map(str, lengths)),
            )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def clusters(self) -> list[str | int]:
        """The patient of each record, for drawing whole patients; a record without one counts as one of its own."""
        return [patient or row for row, patient in enumerate(self.patients)]

    def take(self, rows: Sequence[int] | NDArray[np.int64], name: str | None = None) -> HeldOutSet:
        """The records of these rows, in their order."""
        return HeldOutSet(
            name or self.name,
            [self.texts[row] for row in rows],
            self.y[np.asarray(rows, dtype=np.int64)],
            [self.patients[row] for row in rows],
            {name: [values[row] for row in rows] for name, values in self.groups.items()},
        )


def subset(held_out: HeldOutSet, size: int, seed: int) -> HeldOutSet:
    """`size` records drawn without replacement, in their original order."""
    if size >= len(held_out.texts):
        return held_out
    rows = np.sort(np.random.default_rng(seed).choice(len(held_out.texts), size, replace=False))
    return held_out.take(rows)


def as_read(held_out: HeldOutSet, *, standardised: bool) -> HeldOutSet:
    """The set with its texts as a model reads them that has the input standardiser before it; otherwise as it is."""
    if not standardised:
        return held_out
    return replace(held_out, texts=[model_text(text, standardised=True)[0] for text in held_out.texts])


def carve_validation(
    standard: HeldOutSet, share: float = VALIDATION_SHARE, *, seed: int
) -> tuple[HeldOutSet, HeldOutSet]:
    """(validation, what remains of `standard`), both in the original order; no patient is in both.

    Every label gives about `share` of its records, the rarest labels choosing first (Sechidis et al., On the Stratification of
    Multi-Label Data, ECML 2011, with whole patients in place of records); a label with one or two records stays where it
    is scored. A record without patient counts as one of its own. Raises DataError when there are too few patients to part.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must be in (0, 1), got {share}")
    groups: dict[object, list[int]] = {}
    for row, patient in enumerate(standard.clusters):
        groups.setdefault(patient, []).append(row)
    waiting = list(groups.values())
    random.Random(seed).shuffle(waiting)
    counts = [standard.y[rows].sum(axis=0) for rows in waiting]
    wanted = share * standard.y.sum(axis=0)
    chosen: list[int] = []
    assigned = np.zeros(len(waiting), dtype=np.bool_)
    for label in np.argsort(standard.y.sum(axis=0), kind="stable"):
        for index, rows in enumerate(waiting):
            if assigned[index] or not counts[index][label]:
                continue
            assigned[index] = True
            if wanted[label] >= counts[index][label] / 2:
                chosen.extend(rows)
                wanted = wanted - counts[index]
    if not chosen or len(chosen) == len(standard):
        raise DataError(
            tr("too few records to set a validation set aside", "记录过少,无法划出验证集"),
            where="evaluation.sets.validation",
            got=tr(
                f"{len(standard)} records, {len(groups)} patients",
                f"{len(standard)} 条记录,{len(groups)} 名患者",
            ),
            do=tr("give a validation file", "请提供验证集文件"),
        )
    rest = np.setdiff1d(np.arange(len(standard)), chosen)
    return standard.take(sorted(chosen), "validation"), standard.take(rest)
