"""Encoders small enough for a test, and the gradients that a method of adversarial training leaves in them."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

from emr_fl_client.adversarial import StepContext
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.training.losses import LossSettings, MultiLabelLoss
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.tiny import TinyShape

LOSS = MultiLabelLoss()
BCE = MultiLabelLoss(LossSettings(focal=0.0))


def context(seed: int = 0, **changes: object) -> StepContext:
    return StepContext(torch.Generator().manual_seed(seed), **changes)


def tiny(dropout: float = 0.1, seed: int = 0) -> nn.Module:
    shape = TinyShape(hidden=32, layers=2, heads=2, intermediate=64, dropout=dropout)
    return build_model("tiny", list("abcde"), max_length=32, seed=seed, shape=shape).model.train()


def batch(rows: int = 6, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 17, (rows,), generator=generator)
    mask = (torch.arange(16)[None, :] < lengths[:, None]).long()
    ids = torch.randint(20, 400, (rows, 16), generator=generator) * mask
    return Batch(ids, mask, (torch.rand(rows, 5, generator=generator) < 0.3).float())


def gradients(
    model: nn.Module, method, data: Batch, with_context: StepContext | None = None
) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    method.backward(model, data, LOSS, with_context or context())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(left: dict[str, Tensor], right: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    assert left.keys() == right.keys()
    for name, gradient in left.items():
        torch.testing.assert_close(
            gradient, right[name], rtol=1e-4, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


class TwoParameters(nn.Module):
    """logit = w · e: one token with an embedding of one dimension."""

    def __init__(self, e: float, w: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1, 1)
        self.embedding.weight.data.fill_(e)
        self.w = nn.Parameter(torch.tensor(w))

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self, attention_mask: Tensor, inputs_embeds: Tensor | None = None, input_ids: Tensor | None = None
    ):
        embedded = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        return SimpleNamespace(logits=self.w * embedded.sum(dim=1))


CONFIGS = {
    "bert": BertConfig,
    "roberta": RobertaConfig,
    "electra": ElectraConfig,
    "albert": AlbertConfig,
    "distilbert": DistilBertConfig,
    "modernbert": ModernBertConfig,
}


def encoder_of(kind: str, dropout: float = 0.0) -> nn.Module:
    """One layer of a class of the Auto classes, in training mode."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "distilbert":
        sizes = {"dim": 16, "hidden_dim": 16, "n_layers": 1, "n_heads": 2}
    if kind in ("electra", "albert"):
        sizes["embedding_size"] = 8
    config = CONFIGS[kind](vocab_size=400, pad_token_id=0, num_labels=5, **sizes)
    for name in vars(config):
        if "dropout" in name and isinstance(getattr(config, name), float):
            setattr(config, name, dropout)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).train()
