"""`bilstm-attention`: the recurrent baseline.

Zhou, Shi, Tian, Qi, Li, Hao, Xu, *Attention-Based Bidirectional Long Short-Term Memory Networks for Relation Classification*, ACL 2016.
Symbols of §3 and their names here:

    e_i      embedded tokens                                    `inputs_embeds` [B, L, H]
    h_i      →h_i + ←h_i, eq. 8                                 `states` [B, L, U]
    α        softmax(wᵀ tanh(H)) over the real tokens, eq. 9–10 `weights` [B, L]
    r, h*    Σ α_i h_i and tanh(r), eq. 11–12                   `note` [B, U]
    dropout  on embeddings .3, states .3, h* .5, §4.2           `dropout`, three rates

Deviations: tokens and vectors as in `textcnn`, but that they begin in ± 1, as from smaller ones it learns half as fast; 128 units instead of 100; K sigmoids with the prior bias of `tiny` in the place of a
softmax.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emr_fl_shared.model.word_vectors import WordVectorConfig, WordVectorModel


class BiLstmAttentionConfig(WordVectorConfig):
    """Shape of `bilstm-attention`: units a direction, dropout on embeddings, states and the note."""

    model_type = "emr-fl-bilstm-attention"

    def __init__(
        self,
        units: int = 128,
        dropout: tuple[float, float, float] = (0.3, 0.3, 0.5),
        embedding_bound: float = 1.0,
        **others: Any,
    ) -> None:
        self.units = units
        self.dropout = list(dropout)
        super().__init__(embedding_bound=embedding_bound, **others)


class BiLstmAttention(WordVectorModel):
    """Token ids [B, L], or embedded tokens [B, L, H] in their place, to logits [B, K]; pads count for nothing."""

    config_class = BiLstmAttentionConfig

    def __init__(self, config: BiLstmAttentionConfig) -> None:
        super().__init__(config)
        self.on_embeddings, self.on_states, self.on_note = (nn.Dropout(rate) for rate in config.dropout)
        self.lstm = nn.LSTM(config.hidden_size, config.units, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(config.units, 1, bias=False)
        self.classifier = nn.Linear(config.units, int(config.num_labels or 0))
        self.post_init()

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """The note as the attention sums it up, after dropout, [B, units]; the real tokens come first."""
        lengths = mask.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(
            self.on_embeddings(embedded), lengths, batch_first=True, enforce_sorted=False
        )
        both, _lengths = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1]
        )
        forwards, backwards = both.chunk(2, dim=2)
        states = self.on_states(forwards + backwards)
        scores = self.attention(torch.tanh(states)).squeeze(2)
        weights = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min).softmax(dim=1)
        note = torch.tanh((weights[:, :, None] * states).sum(dim=1))
        dropped: Tensor = self.on_note(note)
        return dropped
