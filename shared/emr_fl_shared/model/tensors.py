"""A model's trainable state as named fp32 arrays, in one fixed order, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr


def tensors_of(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copies of all parameters and floating-point persistent buffers, float32, on the CPU, sorted by name.

    Tied parameters appear once, under the first name.
    """
    seen: set[int] = set()
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        if not tensor.is_floating_point() or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        arrays[name] = tensor.detach().to("cpu", torch.float32, copy=True).numpy()
    return arrays


def load_tensors(model: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy `arrays` into the model in place. Raises `ModelError` if names or shapes are not the model's."""
    state = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, array in arrays.items():
            target = state.get(name)
            if target is None or tuple(target.shape) != tuple(array.shape):
                raise ModelError(
                    tr("the tensors do not fit the model", "张量与模型不符"),
                    where=name,
                    got=str(tuple(array.shape)),
                    expected=str(tuple(target.shape))
                    if target is not None
                    else tr("no such tensor", "无此张量"),
                )
            target.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of `tensors_of(model)` without copying anything."""
    seen: set[int] = set()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        if tensor.is_floating_point() and id(tensor) not in seen:
            seen.add(id(tensor))
            shapes[name] = tuple(tensor.shape)
    return shapes
