"""`tiny`: a small BERT with random weights, for machines without a GPU and for tests. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The shape of `tiny`, chosen by measurement (`docs/sample-federation.md`)."""

    hidden: int = 256
    layers: int = 2
    heads: int = 4
    intermediate: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.0
    initializer_range: float = 0.02


def build_tiny(
    vocabulary_size: int,
    pad_token_id: int,
    names: Sequence[str],
    *,
    max_length: int,
    seed: int,
    shape: TinyShape | None = None,
) -> BertForSequenceClassification:
    """A `BertForSequenceClassification` of the given shape; equal seeds give equal weights.

    The global random state of torch is left as it was.
    """
    from transformers import BertConfig, BertForSequenceClassification

    shape = shape or TinyShape()
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.attention_dropout,
        initializer_range=shape.initializer_range,
        max_position_embeddings=max_length,
        type_vocab_size=1,
        pad_token_id=pad_token_id,
        problem_type="multi_label_classification",
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForSequenceClassification(config)
