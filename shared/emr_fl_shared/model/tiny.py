"""`tiny`: a small encoder with random weights, for machines without a GPU and for tests. Nothing is downloaded.

A BERT of today's form (ModernBERT: Warner et al., arXiv 2412.13663, as transformers has it): normalisation before each
block, rotary positions, mean pooling. From random weights it learns within an epoch what the form of 2018 (normalisation
after each block, [CLS] pooling) has not learned after four; pre-trained encoders keep their own form and their [CLS] state.
See docs/adr/0005-tiny.md for the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from emr_fl_shared.model.labelled import label_settings, prior_bias

if TYPE_CHECKING:
    from transformers import ModernBertForSequenceClassification


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The shape of `tiny`, chosen by measurement (docs/results.md). `intermediate` is the width of the gated unit."""

    hidden: int = 128
    layers: int = 1
    heads: int = 4
    intermediate: int = 192
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
) -> ModernBertForSequenceClassification:
    """A `ModernBertForSequenceClassification` of the given shape; equal seeds give equal weights.

    The global random state of torch is left as it was.
    """
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    shape = shape or TinyShape()
    settings: dict[str, Any] = dict(
        vocab_size=vocabulary_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        embedding_dropout=shape.dropout,
        mlp_dropout=shape.dropout,
        classifier_dropout=shape.dropout,
        attention_dropout=shape.attention_dropout,
        initializer_range=shape.initializer_range,
        max_position_embeddings=max_length,
        # every layer sees the whole note: notes are short, and windows only pay from a few hundred tokens on
        global_attn_every_n_layers=1,
        classifier_pooling="mean",
        pad_token_id=pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=None,
        sep_token_id=None,
        **label_settings(names),
        # eager is the fastest form on a CPU at these lengths (tests/benchmarks/training_step.py)
        attn_implementation="eager",
    )
    config = ModernBertConfig(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ModernBertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias.fill_(prior_bias(len(names)))
    return model
