"""A checkpoint a round, in one file that is either complete or not there.

`round-000007.safetensors` holds the tensors and, as JSON in its metadata, the round's state, under one digest. The last
`keep` rounds stay, with the best round that each of them knows; others go only after the new file is safely on disk, so that
at every instant the newest complete one, and its best one, can be read. Reading verifies digests and falls back to the
round before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.durable import discard_partial, fsync_folder, storage_error, write_durably
from emr_fl_shared.errors import DataError, EmrFlError, FederationError
from emr_fl_shared.messages import tr
from emr_fl_shared.tensorfile import TensorReader, serialise

if TYPE_CHECKING:
    import torch

KEEP = 2
_SCHEMA = "emr-fl checkpoint 1"
_NAME = re.compile(r"round-(\d{6,12})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved for a round. `best_round`: the best so far, if one was marked; `warnings`: newer files that had to be
    passed over, one line each."""

    round: int
    tensors: dict[str, NDArray[Any]] = field(repr=False)
    state: dict[str, Any] = field(repr=False)
    path: Path
    best_round: int | None = None
    warnings: tuple[str, ...] = ()


def save_checkpoint(
    folder: Path,
    round: int,
    tensors: Mapping[str, NDArray[Any] | torch.Tensor],
    state: Mapping[str, Any],
    *,
    keep: int = KEEP,
    best: bool = False,
) -> Path:
    """Write the checkpoint of `round` and delete what is no longer needed; returns its path.

    `tensors` are numpy arrays or torch tensors (of types that numpy has); `state` is JSON without NaN; `best` marks this
    round as the best so far. Kept are the last `keep` rounds up to this one and their best ones; files of later rounds, left from
    a run that was taken up further back, go. Raises StorageError (disk full, no permission) with everything older intact,
    DataError for content that can't be stored.
    """
    if round < 0 or keep < 1:
        raise ValueError("round must be ≥ 0 and keep ≥ 1")
    best_round = round if best else _known_best(folder, [r for r in checkpoint_rounds(folder) if r < round])
    metadata = {
        "schema": _SCHEMA,
        "round": str(round),
        "best_round": "" if best_round is None else str(best_round),
        "state": _to_json(state),
    }
    path = checkpoint_path(folder, round)
    arrays = {name: _as_array(name, tensor) for name, tensor in tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        discard_partial(folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    write_durably(path, serialise(arrays, metadata))
    _prune(folder, round, keep)
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is complete and unharmed, or None when the folder holds no checkpoint at all.

    Damaged ones are passed over and named in `warnings`. Raises FederationError when there are files but none can be used:
    starting from nothing would then throw work away in silence.
    """
    warnings: list[str] = []
    for round in reversed(checkpoint_rounds(folder)):
        try:
            found = load_checkpoint(folder, round)
        except EmrFlError as error:
            warnings.append(
                tr(
                    f"checkpoint of round {round} can't be used, going back one: ",
                    f"第 {round} 轮的检查点不可用,退回上一个:",
                )
                + error.message
            )
            continue
        return replace(found, warnings=tuple(warnings))
    if warnings:
        raise FederationError(
            tr("no checkpoint can be used", "没有可用的检查点"),
            where=str(folder),
            got="; ".join(warnings),
            do=tr("start anew in another run folder", "请在新的运行目录中重新开始"),
        )
    return None


def load_best(folder: Path) -> Checkpoint:
    """The checkpoint of the round that the newest usable one knows as the best, verified.

    Raises FederationError when there is no checkpoint or none was ever marked, DataError when the file is damaged.
    """
    newest = latest_checkpoint(folder)
    if newest is None or newest.best_round is None:
        raise FederationError(tr("no best round was saved", "没有保存过最佳轮次"), where=str(folder))
    return newest if newest.best_round == newest.round else load_checkpoint(folder, newest.best_round)


def load_checkpoint(folder: Path, round: int) -> Checkpoint:
    """The checkpoint of one round, verified. Raises DataError when it is damaged, FederationError when it is not there."""
    path = checkpoint_path(folder, round)
    try:
        with TensorReader(path) as reader:
            reader.verify()
            metadata = reader.metadata
            if metadata.get("schema") != _SCHEMA or metadata.get("round") != str(round):
                raise DataError(tr("not a checkpoint of this round", "不是本轮的检查点"), where=path.name)
            tensors = {name: reader.read(name) for name in sorted(reader.places)}
    except OSError as error:
        raise FederationError(
            tr("the checkpoint can't be read", "检查点无法读取"),
            where=str(path),
            got=error.strerror or type(error).__name__,
        ) from error
    return Checkpoint(round, tensors, json.loads(metadata["state"]), path, _best_of(metadata))


def checkpoint_rounds(folder: Path) -> list[int]:
    """Rounds of which a file exists, ascending; whether it can be read is another question."""
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def checkpoint_path(folder: Path, round: int) -> Path:
    """Where the checkpoint of a round lies."""
    return folder / f"round-{round:06d}.safetensors"


def _prune(folder: Path, round: int, keep: int) -> None:
    rounds = checkpoint_rounds(folder)
    last = [r for r in rounds if r <= round][-keep:]
    # each kept round with its own best one: after falling back, the older best must still be there
    kept = {*last, *(_known_best(folder, [r]) for r in last)}
    try:
        for other in rounds:
            if other not in kept or other > round:
                checkpoint_path(folder, other).unlink(missing_ok=True)
        fsync_folder(folder)
    except OSError as error:
        raise storage_error(error, folder) from error


def _known_best(folder: Path, rounds: list[int]) -> int | None:
    """The best round according to the newest of `rounds` whose header can be read."""
    for round in reversed(rounds):
        try:
            with TensorReader(checkpoint_path(folder, round)) as reader:
                return _best_of(reader.metadata)
        except (EmrFlError, OSError):
            continue
    return None


def _best_of(metadata: Mapping[str, str]) -> int | None:
    text = metadata.get("best_round", "")
    return int(text) if text.isdecimal() else None


def _to_json(state: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(state), allow_nan=False, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            tr("the state of a round must be JSON without NaN", "轮次状态必须为不含 NaN 的 JSON"),
            got=str(error),
        ) from error


def _as_array(name: str, tensor: NDArray[Any] | torch.Tensor) -> NDArray[Any]:
    if isinstance(tensor, np.ndarray):
        return tensor
    try:
        return np.asarray(tensor.detach().cpu().numpy())
    except TypeError:  # bfloat16 and others that numpy does not have
        raise DataError(
            tr("a tensor of this type can't be stored", "无法保存此类型的张量"),
            where=name,
            got=str(tensor.dtype),
        ) from None
