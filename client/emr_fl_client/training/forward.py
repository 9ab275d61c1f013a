"""From a batch to embedded notes and to logits, mixed or not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emr_fl_client.dataset.batch import Batch


def embed(model: nn.Module, batch: Batch) -> Tensor:
    """Word embeddings of the batch, [B, L, H]; of a mixed batch the mixture, with pads as they are."""
    embedding: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    embedded: Tensor = embedding(batch.input_ids)
    mixed = batch.mixed
    if mixed is None:
        return embedded
    mixture = mixed.own[:, :, None] * embedded + mixed.other[:, :, None] * embedding(mixed.partner_ids)
    return torch.where(batch.attention_mask[:, :, None] > 0, mixture, embedded)


def logits_of(model: nn.Module, batch: Batch, embedded: Tensor | None = None) -> Tensor:
    """Logits [B, K] of the batch, or of `embedded` [B, L, H] in its place."""
    if embedded is None and batch.mixed is not None:
        embedded = embed(model, batch)
    if embedded is None:
        logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    else:
        logits = model(inputs_embeds=embedded, attention_mask=batch.attention_mask).logits
    return logits
