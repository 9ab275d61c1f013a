"""`textcnn`: the convolutional baseline.

Kim, *Convolutional Neural Networks for Sentence Classification*, EMNLP 2014. Symbols of §2 and their names here:

    x_{1:n}      embedded tokens                           `inputs_embeds` [B, L, H]
    h            filter windows 3, 4, 5                    `windows`
    c_i          ReLU(w · x_{i:i+h−1} + b), eq. 2          `maps` [B, L, F]
    ĉ = max c    max-over-time pooling, eq. 3–4            over the real tokens
    p            dropout before the last layer, §2.1       `dropout`

Deviations: the words are the tokens of `tiny` (a character each) and start from random vectors in ± .25, Kim's CNN-rand; the vectors have the
width of `tiny`'s, 128 instead of 300, so that both have about as many parameters; K sigmoids with the prior bias of `tiny`
in the place of a softmax; no ℓ2 ball around the last layer's rows, as all models here have the same weight decay.

A convolution is written as what it is, one matrix product over h neighbouring vectors: on a CPU, a convolution kernel is compiled for every
length of the batch, which cost eight times the training step itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emr_fl_shared.model.word_vectors import WordVectorConfig, WordVectorModel


class TextCnnConfig(WordVectorConfig):
    """Shape of `textcnn`: filter windows, feature maps a window, dropout."""

    model_type = "emr-fl-textcnn"

    def __init__(
        self, windows: tuple[int, ...] = (3, 4, 5), filters: int = 100, dropout: float = 0.5, **others: Any
    ) -> None:
        self.windows = list(windows)
        self.filters = filters
        self.dropout = dropout
        super().__init__(**others)


class TextCnn(WordVectorModel):
    """Token ids [B, L], or embedded tokens [B, L, H] in their place, to logits [B, K]; pads count for nothing."""

    config_class = TextCnnConfig

    def __init__(self, config: TextCnnConfig) -> None:
        super().__init__(config)
        self.convolutions = nn.ModuleList(
            nn.Linear(config.hidden_size * window, config.filters) for window in config.windows
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.filters * len(config.windows), int(config.num_labels or 0))
        self.post_init()

    def features(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """The largest value of each feature map, after dropout, [B, windows · F]."""
        real = mask[:, :, None] > 0
        length = embedded.shape[1]
        pooled = []
        for window, convolution in zip(self.config.windows, self.convolutions, strict=True):
            # a window begins at each token and may reach beyond the end, so that notes shorter than it have one, too
            padded = F.pad(embedded, (0, 0, 0, window - 1))
            neighbours = torch.cat([padded[:, first : first + length] for first in range(window)], dim=2)
            maps = F.relu(convolution(neighbours))
            pooled.append(maps.masked_fill(~real, 0.0).amax(dim=1))
        dropped: Tensor = self.dropout(torch.cat(pooled, dim=1))
        return dropped
