"""What the baselines over word vectors have in common: the embedding interface of an encoder, masks, and first weights.

They are transformers' models, so that whatever holds for an encoder holds for them: the training loop, adversarial training on
`inputs_embeds`, `save_pretrained` with safetensors only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from emr_fl_shared.model.labelled import prior_bias


class WordVectorConfig(PretrainedConfig):  # type: ignore[misc]
    """Vocabulary and width of the vectors, and ± what they begin uniform in."""

    def __init__(
        self,
        vocab_size: int = 2,
        hidden_size: int = 128,
        max_position_embeddings: int = 128,
        pad_token_id: int = 0,
        embedding_bound: float = 0.25,
        **others: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.max_position_embeddings = max_position_embeddings
        self.embedding_bound = embedding_bound
        super().__init__(**{"pad_token_id": pad_token_id, **others})


class WordVectorModel(PreTrainedModel):  # type: ignore[misc]
    """A classifier over trainable word vectors; `classifier` is its output layer with one row a label."""

    base_model_prefix = "model"
    main_input_name = "input_ids"
    config: Any
    classifier: nn.Linear

    def __init__(self, config: WordVectorConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding matrix's module."""
        return self.embeddings

    def embedded(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, inputs_embeds: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embedded tokens [B, L, H], 0 on pads, and the mask [B, L]. Raises ValueError without ids and embeddings."""
        if inputs_embeds is not None:
            vectors = inputs_embeds
        elif input_ids is not None:
            vectors = self.embeddings(input_ids)
        else:
            raise ValueError("input_ids or inputs_embeds is needed")
        if attention_mask is None:
            attention_mask = torch.ones(vectors.shape[:2], dtype=torch.long, device=vectors.device)
        return vectors * attention_mask[:, :, None].to(vectors.dtype), attention_mask

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """What `classifier` reads [B, F], from the embedded tokens [B, L, H] and the mask [B, L]."""
        raise NotImplementedError

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits float [B, K] as `.logits`; `attention_mask` [B, L] is 1 on real tokens, left out: all are."""
        embedded, mask = self.embedded(input_ids, attention_mask, inputs_embeds)
        return SequenceClassifierOutput(logits=self.classifier(self.features(embedded, mask)))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """transformers calls this for every module that it has no weights for."""
        if isinstance(module, nn.Embedding):
            bound = float(self.config.embedding_bound)
            module.weight.uniform_(-bound, bound)
            if module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
        elif isinstance(module, nn.Linear | nn.LSTM):
            module.reset_parameters()
        if module is self.classifier:
            self.classifier.bias.fill_(prior_bias(int(self.config.num_labels)))
