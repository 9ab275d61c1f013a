"""The same encoder with a masked-language-modelling head in the place of the classifier.

The head's output weights are the word embeddings (tied: Press & Wolf, EACL 2017), as in the checkpoints that encoders come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import (
    TINY,
    find_source,
    load_config_and_tokenizer,
    loading,
    position_limit,
    quiet_transformers,
)
from emr_fl_shared.model.tiny import TinyShape, build_tiny_masked_lm


@dataclass
class MaskedLM:
    """A masked language model and its tokenizer; `max_length` is the number of tokens that it really reads."""

    name: str
    # transformers' own annotations do not describe what its objects accept
    model: Any
    tokenizer: Any
    max_length: int
    untrained: tuple[str, ...] = ()
    """Names of weights that the checkpoint did not have: they are new and seeded."""

    @property
    def parameters(self) -> int:
        """The number of trainable parameters, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def build_masked_lm(
    name: str,
    *,
    max_length: int = 128,
    seed: int = 0,
    shape: TinyShape | None = None,
    only_local: bool = False,
) -> MaskedLM:
    """`tiny` (seeded, untrained), or a hub name or local folder of any encoder of the Auto classes that has such a head.

    A head that is not among the weights is new and seeded. `only_local`: `name` must be a folder.

    Raises:
        ModelError: as `build_model`, and where there is no such head for the encoder.
    """
    if name == TINY:
        from emr_fl_shared.text.tokeniser import tiny_tokenizer

        tokenizer: Any = tiny_tokenizer(max_length)
        model: Any = build_tiny_masked_lm(
            len(tokenizer), tokenizer.pad_token_id, max_length=max_length, seed=seed, shape=shape
        )
        return MaskedLM(TINY, model, tokenizer, max_length)
    if only_local and not Path(name).expanduser().is_dir():
        raise ModelError(
            tr("there is no such model folder", "找不到该模型目录"), where="model.name", got=name
        )
    return _pretrained(name, max_length, seed)


def _pretrained(name: str, max_length: int, seed: int) -> MaskedLM:
    from transformers import AutoModelForMaskedLM

    from emr_fl_shared.text.tokeniser import add_placeholders

    source = find_source(name)
    config, tokenizer = load_config_and_tokenizer(source)
    with quiet_transformers(), torch.random.fork_rng(devices=[]), loading(source):
        torch.manual_seed(seed)
        model, report = AutoModelForMaskedLM.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
        if add_placeholders(tokenizer):
            model.resize_token_embeddings(max(len(tokenizer), model.get_input_embeddings().num_embeddings))
    if tokenizer.mask_token_id is None or not tokenizer.is_fast:
        raise ModelError(
            tr("the tokenizer has no mask token or no offsets", "分词器没有掩码标记或不提供偏移"),
            where="model.name",
            got=name,
        )
    length = min(max_length, position_limit(model, tokenizer))
    return MaskedLM(name, model, tokenizer, length, tuple(sorted(report["missing_keys"])))


def check_head(masked: MaskedLM, *, where: str) -> MaskedLM:
    """The model itself. Raises `ModelError` where weights of it are untrained; `where`: the setting that it names."""
    if masked.untrained:
        raise ModelError(
            tr(
                "the weights have no trained masked-language-modelling head",
                "权重中没有训练好的掩码语言模型头",
            ),
            where=where,
            got=f"{masked.name}: {', '.join(masked.untrained[:3])}",
            expected=tr("a folder of a …ForMaskedLM", "…ForMaskedLM 的目录"),
        )
    return masked


def masked_logits(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, where: Tensor) -> Tensor:
    """Logits [N, V] at the N places where `where` (bool [B, L]) is true, in row order.

    The head works on each place by itself, so that it is given these places only: a whole batch of logits would hold B·L·V numbers.
    """

    def only_there(_: nn.Module, __: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[where][None]
        return output

    encoder: nn.Module = model.base_model  # type: ignore[assignment]
    handle = encoder.register_forward_hook(only_there)
    try:
        logits: Tensor = model(input_ids=input_ids, attention_mask=attention_mask).logits[0]
    finally:
        handle.remove()
    return logits


def carry_over(classifier: nn.Module, masked: nn.Module) -> int:
    """Copy every tensor that both models have under the same name and in the same shape into `classifier`, in place; how many.

    That is the encoder, and for `tiny` the transformation before the output layer. Raises `ModelError` where a parameter of the
    encoder is not among them.
    """
    given, own = masked.state_dict(), classifier.state_dict()
    common = [name for name in own if name in given and given[name].shape == own[name].shape]
    base: nn.Module = masked.base_model  # type: ignore[assignment]
    trained = {f"{masked.base_model_prefix}.{name}" for name, _ in base.named_parameters()}
    if lost := sorted(trained - set(common)):
        raise ModelError(
            tr("the two heads do not stand on the same encoder", "两种输出头所用的编码器不一致"),
            where="model.name",
            got=", ".join(lost[:3]),
        )
    with torch.no_grad():
        for name in common:
            own[name].copy_(given[name])
    return len(common)
