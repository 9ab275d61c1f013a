"""The encoder with position and segment numbers a record, which it otherwise makes once for the whole batch.

BERT's own numbers have batch size 1 and are broadcast: the gradient of the position embeddings is then summed over the records before
anybody can clip it.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn


class ExplicitNumbers(nn.Module):
    """`model` as the methods of training call it; what is called has the same parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        takes = inspect.signature(model.forward).parameters
        tables = {
            name.rpartition(".")[2]: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Embedding)
        }
        self._segments = "token_type_ids" in takes and "token_type_embeddings" in tables
        self._first: int | None = None
        positions = tables.get("position_embeddings")
        if positions is not None and "position_ids" in takes:
            # encoders of the RoBERTa kind number positions from behind the pad index, as `position_limit` has it
            self._first = 0 if positions.padding_idx is None else positions.padding_idx + 1

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.model.get_input_embeddings()  # type: ignore[operator,no-any-return]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Any:
        """As the encoder's own."""
        given: dict[str, Tensor] = {}
        like = input_ids if input_ids is not None else inputs_embeds
        assert like is not None
        count, length = like.shape[:2]
        if self._first is not None:
            numbers = torch.arange(self._first, self._first + length, device=like.device)
            given["position_ids"] = numbers.repeat(count, 1)
        if self._segments:
            given["token_type_ids"] = torch.zeros(count, length, dtype=torch.int64, device=like.device)
        if input_ids is not None:
            given["input_ids"] = input_ids
        if inputs_embeds is not None:
            given["inputs_embeds"] = inputs_embeds
        return self.model(attention_mask=attention_mask, **given)
