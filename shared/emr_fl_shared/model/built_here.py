"""Models that are built here from random weights, over the tokeniser of `tiny`: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from emr_fl_shared.config.settings import BILSTM_ATTENTION, BUILT_HERE, TEXTCNN, TINY
from emr_fl_shared.model.labelled import label_settings
from emr_fl_shared.model.tiny import TinyShape, build_tiny

__all__ = ["BUILT_HERE", "build_here", "register_with_transformers"]


def build_here(
    name: str, labels: Sequence[str], *, max_length: int, seed: int, shape: TinyShape | None
) -> tuple[Any, Any]:
    """The model of a name in `BUILT_HERE`, and its tokeniser; equal seeds give equal weights. `shape`: of `tiny` only."""
    from emr_fl_shared.text.tokeniser import tiny_tokenizer

    tokenizer: Any = tiny_tokenizer(max_length)
    size, pad = len(tokenizer), tokenizer.pad_token_id
    if name == TINY:
        return build_tiny(size, pad, labels, max_length=max_length, seed=seed, shape=shape), tokenizer
    config_class, model_class = _classes()[name]
    config = config_class(
        vocab_size=size,
        pad_token_id=pad,
        max_position_embeddings=max_length,
        **label_settings(labels),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config), tokenizer


@cache
def register_with_transformers() -> None:
    """Make the baselines known to the Auto classes of this process, so that their saved folders load as any other's."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    for config_class, model_class in _classes().values():
        AutoConfig.register(config_class.model_type, config_class)
        AutoModelForSequenceClassification.register(config_class, model_class)


def _classes() -> dict[str, tuple[Any, Any]]:
    from emr_fl_shared.model.bilstm_attention import BiLstmAttention, BiLstmAttentionConfig
    from emr_fl_shared.model.textcnn import TextCnn, TextCnnConfig

    return {TEXTCNN: (TextCnnConfig, TextCnn), BILSTM_ATTENTION: (BiLstmAttentionConfig, BiLstmAttention)}
