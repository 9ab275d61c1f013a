"""The gradient of each record, summed over all backward passes of a step, by opacus' hooks.

opacus keeps a list of per-sample gradients, one a backward pass, and its optimiser concatenates the list: with FreeLB's K passes a
record is then clipped K times and can move the parameters by up to K·C. Here the passes are added up as they come, so that a
record has one gradient, whatever the method does in a step.

Deviations from opacus' own samplers:

* `nn.Embedding`: not [B, V, H], which is 65 MB a record for a Chinese BERT, but the gradients of the looked-up vectors, [B, L, H], with
  their row numbers beside them (`RecordGradients.rows`). Rows that a text has twice are added up when the norm is taken
  (`clipping.py`). `padding_idx` gets none, as autograd has it.
* `nn.LayerNorm` without a bias (ModernBERT), at which opacus fails.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn
from torch.nn import functional as F

from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr

_ROWS = "looked_up_rows"
_ROUNDING = 1e-3


def _embedding(layer: nn.Embedding, activations: list[Tensor], backprops: Tensor) -> dict[Any, Tensor]:
    rows = activations[0]
    known = getattr(layer.weight, _ROWS, None)
    if known is not None and not torch.equal(known, rows):
        raise _unsupported("embedding")
    setattr(layer.weight, _ROWS, rows)
    if layer.padding_idx is not None:
        backprops = backprops.masked_fill((rows == layer.padding_idx)[..., None], 0.0)
    return {layer.weight: backprops}


def _layer_norm(layer: nn.LayerNorm, activations: list[Tensor], backprops: Tensor) -> dict[Any, Tensor]:
    normalised = F.layer_norm(activations[0], layer.normalized_shape, eps=layer.eps)
    kept = backprops.ndim - len(layer.normalized_shape)
    between = tuple(range(1, kept))
    given = {layer.weight: backprops * normalised}
    if layer.bias is not None:
        given[layer.bias] = backprops
    return {
        parameter: gradient.sum(dim=between) if between else gradient
        for parameter, gradient in given.items()
        if parameter.requires_grad
    }


class RecordGradients(GradSampleHooks):  # type: ignore[misc]
    """Hooks on `model` in training mode, until `closed()`; losses are to be sums over records, not means.

    After the backward passes of a step each trainable parameter's gradient is in `of(parameter)`, float32: [B, *shape], for the
    weight of an embedding [B, L, H] with `rows(parameter)` int64 [B, L].
    """

    GRAD_SAMPLERS: ClassVar[dict[type[nn.Module], Callable[..., Any]]] = {
        **GradSampleHooks.GRAD_SAMPLERS,
        nn.Embedding: _embedding,
        nn.LayerNorm: _layer_norm,
    }

    def __init__(self, model: nn.Module) -> None:
        # not strict: rotary tables are buffers, which no record changes; layers that mix records are refused by `check`
        super().__init__(model, loss_reduction="sum", strict=False)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def capture_backprops_hook(self, module: nn.Module, *given: Any, **named: Any) -> None:
        """opacus' hook, then one gradient a record in the place of its list."""
        super().capture_backprops_hook(module, *given, **named)
        for parameter in module.parameters(recurse=False):
            found = getattr(parameter, "grad_sample", None)
            if isinstance(found, list):
                first, *others = found
                for other in others:
                    first += other
                parameter.grad_sample = first  # type: ignore[attr-defined]

    def of(self, parameter: nn.Parameter) -> Tensor:
        """See the class."""
        return parameter.grad_sample  # type: ignore[attr-defined,no-any-return]

    def rows(self, parameter: nn.Parameter) -> Tensor | None:
        """Which rows of an embedding's weight were looked up, int64 [B, L]; `None` for any other parameter."""
        return getattr(parameter, _ROWS, None)

    def clear(self) -> None:
        """Forget the gradients of the last records, and what autograd summed over them."""
        for parameter in self.parameters.values():
            parameter.grad = None
            parameter.grad_sample = None  # type: ignore[attr-defined]
            if hasattr(parameter, _ROWS):
                delattr(parameter, _ROWS)

    def check(self, records: int) -> None:
        """Raises `ModelError` where the gradients of so many records do not add up to the one that autograd has of all of them.

        So it is for a weight that is used outside of its layer (tied heads) or that the batch shares before the records are apart. A
        parameter that the loss does not depend on (a pooler that is not used) has neither.
        """
        for name, parameter in self.parameters.items():
            found, whole = self.of(parameter), parameter.grad
            if found is None and whole is None:
                continue
            if found is None or whole is None or len(found) != records:
                raise _unsupported(name)
            rows = self.rows(parameter)
            if rows is None:
                summed = found.sum(dim=0)
            else:
                summed = torch.zeros_like(whole).index_add_(
                    0, rows.flatten(), found.reshape(-1, whole.shape[1])
                )
            size = torch.nan_to_num(whole).norm()
            if float(torch.nan_to_num(summed - whole).norm()) > _ROUNDING * float(size) + _ROUNDING:
                raise _unsupported(name)

    def close(self) -> None:
        """Take hooks and gradients away: the model is as it was."""
        self.clear()
        self.cleanup()
        for module in self._module.modules():
            for left in ("activations", "max_batch_len"):
                if hasattr(module, left):
                    delattr(module, left)


@contextmanager
def record_gradients(model: nn.Module) -> Iterator[RecordGradients]:
    """`RecordGradients` of `model` for as long as the context lasts. Raises `ModelError` for a layer that mixes records."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise _unsupported(type(module).__name__)
    hooks = RecordGradients(model)
    with warnings.catch_warnings():
        # of the word embeddings, whose input are numbers of rows
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        try:
            yield hooks
        finally:
            hooks.close()


def _unsupported(what: str) -> ModelError:
    return ModelError(
        tr(
            "this encoder gives no gradient for each record, which differential privacy needs",
            "该编码器无法给出逐条记录的梯度，而差分隐私需要它",
        ),
        where="model.name",
        got=what,
        do=tr('use a BERT-like encoder or "tiny"', '请使用 BERT 类编码器或 "tiny"'),
    )
