"""The weighted mean of spooled updates, tensor by tensor, in site-name order.

McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017, Algorithm 1:
w_{t+1} = Σ_k n_k/n · w^k_{t+1}, here as w_t + Σ_k n_k/n · Δ^k with Δ^k the site's difference to the round's model.
fp32 sums depend on their order, so the order is fixed; at most one tensor of one site is in memory beside the sum.

Deviation: rows of the classification head may be averaged over the sites that have the label only (`row_masks`). A site
that masks a label out of its loss leaves that row where it was, and in the plain mean such zeros shrink the step of the
sites that do learn it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.aggregation.spool import SpooledUpdate
from emr_fl_shared.errors import FederationError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Float32

RowMasks = Mapping[str, NDArray[np.bool_]]


class Means:
    """Mean differences of spooled updates, computed a tensor at a time when asked for.

    `row_masks[site]` is bool [K]; in the tensors named by `row_tensors` (first dimension K) row r is averaged over the sites
    whose mask holds r, with their weights renormalised; a row that no site holds gets 0. Raises FederationError for no update,
    for updates of different models, and for masks that are missing or do not fit.
    """

    def __init__(
        self,
        updates: Sequence[SpooledUpdate],
        *,
        row_masks: RowMasks | None = None,
        row_tensors: Collection[str] = (),
    ) -> None:
        self._ordered = sorted(updates, key=lambda update: update.site)
        _check(self._ordered, row_masks, row_tensors)
        self.shapes = self._ordered[0].shapes
        total = float(sum(update.weight for update in self._ordered))
        self._shares = {update.site: update.weight / total for update in self._ordered}
        self._row_tensors = frozenset(row_tensors) if row_masks is not None else frozenset()
        self._row_shares: dict[str, Float32] = {}
        self._held: NDArray[np.bool_] | None = None
        if row_masks is not None and row_tensors:
            self._row_shares = _row_shares(self._shares, row_masks)
            self._held = np.logical_or.reduce([row_masks[update.site] for update in self._ordered])

    def of(self, name: str) -> Float32:
        """The mean of one tensor, a fresh fp32 array."""
        accumulator: Float32 = np.zeros(self.shapes[name], dtype=np.float32)
        for update in self._ordered:
            # opened anew for each tensor: hundreds of sites must not hold hundreds of files open
            with update.open() as reader:
                tensor = reader.read(name)
            if name in self._row_tensors:
                tensor *= self._row_shares[update.site].reshape((-1,) + (1,) * (tensor.ndim - 1))
            else:
                tensor *= np.float32(self._shares[update.site])
            accumulator += tensor
            del tensor  # before the next one is read
        return accumulator

    def held(self, name: str) -> NDArray[np.bool_] | None:
        """Rows of the tensor that some site holds, bool [K]; `None` for a tensor without such rows."""
        return self._held if name in self._row_tensors else None


def _row_shares(shares: Mapping[str, float], row_masks: RowMasks) -> dict[str, Float32]:
    """Share of each site in each row, fp32 [K]: its weight over the weights of the sites that hold the row."""
    masked = {site: share * row_masks[site].astype(np.float64) for site, share in shares.items()}
    total = np.sum(list(masked.values()), axis=0)
    divisor = np.where(total > 0, total, 1.0)
    return {site: (share / divisor).astype(np.float32) for site, share in masked.items()}


def _check(
    ordered: Sequence[SpooledUpdate], row_masks: RowMasks | None, row_tensors: Collection[str]
) -> None:
    if not ordered:
        raise FederationError(tr("no update to aggregate", "没有可聚合的更新"))
    shapes = ordered[0].shapes
    sites = [update.site for update in ordered]
    if len(set(sites)) < len(sites):
        raise FederationError(tr("two updates of one site", "同一站点有两个更新"))
    for update in ordered:
        if update.shapes != shapes:
            raise FederationError(tr("updates of another model", "更新与模型不符"), where=update.site)
    if row_masks is None:
        return
    for name in row_tensors:
        if not shapes.get(name):
            raise FederationError(tr("no tensor with rows of this name", "没有此名称的按行张量"), where=name)
        for site in sites:
            mask = row_masks.get(site)
            if mask is None or mask.dtype != np.bool_ or mask.shape != (shapes[name][0],):
                raise FederationError(
                    tr("the label mask does not fit", "标签掩码不符"),
                    where=site,
                    expected=f"bool [{shapes[name][0]}]",
                )
