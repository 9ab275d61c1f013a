"""Which update is accepted into a round. A refused one costs its site that round and nothing else; both are recorded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_server.aggregation import Kept, Spool, SpooledUpdate, Strategy, advance, compare_norms
from emr_fl_shared.durable import storage_error
from emr_fl_shared.errors import DataError, EmrFlError, FederationError, PolicyError
from emr_fl_shared.messages import tr
from emr_fl_shared.payload import Form
from emr_fl_shared.wire import TrainReply


class Audit:
    """The coordinator's own record of what it accepted and refused, a JSON line each, on disk before it counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **details: Any) -> None:
        """Append one line. Raises `StorageError` if it can't be written."""
        line = json.dumps(
            {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **details}, ensure_ascii=False
        )
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, (line + "\n").encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, self._path.parent) from error


class Admission:
    """The updates of one round: each checked alone as it comes, all compared at the end."""

    def __init__(
        self,
        folder: Path,
        shapes: Mapping[str, tuple[int, ...]],
        form: Form,
        weighting: str,
        audit: Audit,
        labels: int,
        objective: str = "classify",
    ) -> None:
        self._spool = Spool(folder, shapes, form)
        self._form = form
        self._weighting = weighting
        self._audit = audit
        self._labels = labels
        self._objective = objective
        self.accepted: dict[str, TrainReply] = {}
        self.refused: dict[str, str] = {}
        self.forbidden: set[str] = set()
        """Those of the refused whose own policy said no."""
        self.bytes_up = 0

    def admit(self, site: str, round: int, reply: TrainReply, payload: bytes | None) -> None:
        """Check a reply and its update completely, then spool the update.

        Raises `EmrFlError`; nothing is stored then.
        """
        if reply.site != site or reply.round != round:
            raise FederationError(
                tr("the reply is not the one that was asked for", "应答与请求不符"),
                got=f"{reply.site}, round {reply.round}",
                expected=f"{site}, round {round}",
            )
        if reply.objective != self._objective:
            raise FederationError(
                tr("the reply is not the one that was asked for", "应答与请求不符"),
                got=reply.objective,
                expected=self._objective,
            )
        if payload is None:
            raise DataError(tr("the reply holds no update", "应答中没有更新"), where=site)
        if reply.payload != self._form:
            raise DataError(
                tr("another kind of payload", "载荷类型不符"), got=reply.payload, expected=self._form
            )
        counts = reply.label_counts
        if counts is not None and (len(counts) != self._labels or max(counts) > reply.examples):
            raise DataError(
                tr("label counts that can't be", "标签计数不可能成立"),
                got=f"{len(counts)}, max {max(counts, default=0)}",
                expected=f"{self._labels}, max {reply.examples}",
            )
        update = self._spool.accept(site, payload, self._weight(reply))
        self.accepted[site] = reply
        self.bytes_up += len(payload)
        self._audit.write(
            "accepted", site=site, round=round, bytes=len(payload), norm=update.norm, examples=reply.examples
        )

    def _weight(self, reply: TrainReply) -> float:
        if self._weighting == "even":
            return 1.0
        if self._weighting == "examples":
            return float(reply.examples)
        if reply.effective_labels is None:
            raise DataError(
                tr("the reply does not say how much the update weighs", "应答未说明更新的权重"),
                where="effective_labels",
                expected='aggregation.weighting = "effective_labels"',
            )
        return reply.effective_labels

    def refuse(self, site: str, round: int, error: EmrFlError) -> None:
        """Record why a site's reply does not count."""
        self.refused[site] = error.render()
        if isinstance(error, PolicyError):
            self.forbidden.add(site)
        self._audit.write("refused", site=site, round=round, reason=error.render())

    def late(self, site: str, round: int) -> None:
        """Record that a site did not answer before the round closed."""
        self._audit.write("late", site=site, round=round)

    def missing(self, sites: Iterable[str]) -> list[str]:
        """Sites that have not answered."""
        return sorted(set(sites) - set(self.accepted) - set(self.refused))

    def compare(self, round: int, max_norm_ratio: float) -> dict[str, str]:
        """Take out updates whose norm is more than `max_norm_ratio` × the median of the others'; reasons by site."""
        updates = self._spool.updates
        out: dict[str, str] = {}
        # With two updates there is no telling which one is wrong.
        if len(updates) < 3:
            return out
        reports = (
            compare_norms({update.site: update.norm for update in updates}, factor=max_norm_ratio),
            compare_norms({update.site: update.control_norm for update in updates}, factor=max_norm_ratio),
        )
        for site in sorted(reports[0]):
            report = next((found[site] for found in reports if found[site].suspicious), None)
            if report is None:
                continue
            error = DataError(
                tr("the update is far larger than the others", "更新远大于其他机构"),
                where=site,
                got=f"{report.ratio:.1f} ×",
                expected=f"<= {max_norm_ratio:g} × {tr('the median norm', '中位范数')} (aggregation.max_norm_ratio)",
            )
            self._spool.discard(site)
            del self.accepted[site]
            self.refuse(site, round, error)
            out[site] = error.render()
        return out

    def fold(
        self,
        strategy: Strategy,
        model: Mapping[str, NDArray[np.float32]],
        kept: Kept,
        label_tensors: Sequence[str],
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, NDArray[np.float32]]]]:
        """The next global model and what the strategy keeps; label rows are averaged over the sites whose update moved them."""
        updates = self._spool.updates
        if not label_tensors:
            return advance(strategy, model, kept, updates)
        masks = {update.site: moved_rows(update, label_tensors) for update in updates}
        return advance(strategy, model, kept, updates, row_masks=masks, row_tensors=label_tensors)

    def discard(self) -> None:
        """Delete the spooled updates."""
        self._spool.clear()


def moved_rows(update: SpooledUpdate, label_tensors: Sequence[str]) -> NDArray[np.bool_]:
    """bool [K]: labels whose output row the site's update moved — it masks the others out of its loss."""
    moved: NDArray[np.bool_] | None = None
    with update.open() as reader:
        for name in label_tensors:
            tensor = reader.read(name)
            rows = (tensor.reshape(tensor.shape[0], -1) != 0).any(axis=1)
            moved = rows if moved is None else moved | rows
    assert moved is not None
    return moved
