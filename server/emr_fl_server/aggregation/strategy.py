"""From the mean of a round's updates to the next global model: what every strategy has in common.

A strategy is a rule for one tensor. `advance` goes through the model a tensor at a time, so that memory holds the model, what the
strategy keeps of it (the same size for each kind), and one tensor of one site, however many sites there are.

An output row that no site held this round stays where it was, and so does what is kept of it: without a gradient there is no
step, and momentum must not go on moving a label that nobody trains (as SparseAdam leaves rows without a gradient).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.aggregation.mean import Means, RowMasks
from emr_fl_server.aggregation.spool import SpooledUpdate
from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Float32, Shapes, beside

Tensors = Mapping[str, Float32]
Kept = Mapping[str, Tensors]
"""What is kept from round to round: kind → name of the model's tensor → tensor of the same shape."""


class MeanSource(Protocol):
    """Where the mean differences of a round come from, a tensor at a time (`mean.Means`, `masked.MaskedMeans`)."""

    @property
    def shapes(self) -> Shapes:
        """Names and shapes of all its tensors."""
        ...

    def of(self, name: str) -> Float32:
        """The mean of one tensor, fresh."""
        ...

    def held(self, name: str) -> NDArray[np.bool_] | None:
        """Rows of the tensor that some site holds; `None` where it has no such rows."""
        ...


class Strategy(Protocol):
    """A rule that makes the next global model from the last one and the mean difference, element by element."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it keeps from round to round."""
        ...

    @property
    def sent(self) -> tuple[str, ...]:
        """Those of the kinds that go down with the model and that each site sends its own of."""
        ...

    def start(self, kind: str, model: Float32) -> Float32:
        """What is kept before the first round."""
        ...

    def step(self, model: Float32, mean: Float32, kept: Tensors, sent: Tensors) -> tuple[Float32, Tensors]:
        """One tensor of the next model and what is kept of it, fp32.

        `model`, `kept` and `sent` stay as they are; `mean` may be overwritten. `kept` and `sent` have an array a kind.
        """
        ...


def start(strategy: Strategy, model: Tensors) -> Kept:
    """What `strategy` keeps before the first round."""
    return {
        kind: {name: strategy.start(kind, tensor) for name, tensor in model.items()}
        for kind in strategy.kinds
    }


def advance(
    strategy: Strategy,
    model: Tensors,
    kept: Kept,
    updates: Sequence[SpooledUpdate],
    *,
    row_masks: RowMasks | None = None,
    row_tensors: Collection[str] = (),
) -> tuple[dict[str, Float32], dict[str, dict[str, Float32]]]:
    """The next global model and what is kept for the round after it, new arrays; `model` and `kept` stay as they are.

    Raises as `Means`, and FederationError for updates of another model and where the result overflows.
    """
    rows = [*row_tensors, *(beside(kind, name) for kind in strategy.sent for name in row_tensors)]
    return advance_by(strategy, model, kept, Means(updates, row_masks=row_masks, row_tensors=rows))


def advance_by(
    strategy: Strategy, model: Tensors, kept: Kept, means: MeanSource
) -> tuple[dict[str, Float32], dict[str, dict[str, Float32]]]:
    """The same from the means, wherever they come from."""
    if means.shapes.keys() != {*model, *(beside(kind, name) for kind in strategy.sent for name in model)}:
        raise FederationError(tr("updates of another model", "更新与模型不符"))
    tensors: dict[str, Float32] = {}
    after: dict[str, dict[str, Float32]] = {kind: {} for kind in strategy.kinds}
    for name, tensor in model.items():
        mean = means.of(name)
        sent = {kind: means.of(beside(kind, name)) for kind in strategy.sent}
        before = {kind: kept[kind][name] for kind in strategy.kinds}
        held = means.held(name)
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            if held is None or held.all() or not strategy.kinds:
                tensors[name], states = strategy.step(tensor, mean, before, sent)
            else:
                tensors[name], states = _step_rows(strategy, tensor, mean, before, sent, held)
        for kind in strategy.kinds:
            after[kind][name] = states[kind]
        if not all(np.isfinite(array).all() for array in (tensors[name], *states.values())):
            raise FederationError(tr("the new global model overflows", "新的全局模型溢出"), where=name)
    return tensors, after


def _step_rows(
    strategy: Strategy,
    model: Float32,
    mean: Float32,
    kept: Tensors,
    sent: Tensors,
    held: NDArray[np.bool_],
) -> tuple[Float32, Tensors]:
    """`step` on the rows that are held; the others stay."""
    stepped, states = strategy.step(
        model[held],
        mean[held],
        {kind: array[held] for kind, array in kept.items()},
        {kind: array[held] for kind, array in sent.items()},
    )
    after = model.copy()
    after[held] = stepped
    whole = {kind: array.copy() for kind, array in kept.items()}
    for kind, array in whole.items():
        array[held] = states[kind]
    return after, whole
