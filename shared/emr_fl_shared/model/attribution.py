"""On which words a probability rests: integrated gradients, and attention roll-out as a picture.

Integrated gradients: Sundararajan, Taly & Yan, Axiomatic Attribution for Deep Networks, ICML 2017, eq. 1, on the embedded tokens:

    a_i = Σ_d (e − e')_{i,d} · ∫₀¹ ∂f(e' + t (e − e')) / ∂e_{i,d} dt

f: the logit of one label (before any temperature), e: the embedded text, e': the same with the padding token in place of every token
but the special ones ([CLS], [SEP]). The integral is a Gauss-Legendre sum whose nodes are doubled until the completeness axiom,
Σ a = f(e) − f(e'), holds to `TOLERANCE`; what is left is reported as `error`. Tokens are merged to words: a clinical term of the
lexicon, a placeholder, a run of Latin letters or digits, else the single character.

Attention roll-out: Abnar & Zuidema, Quantifying Attention Flow in Transformers, ACL 2020. It is no attribution: the same for every
label, never negative, and it says what was looked at, not what it spoke for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emr_fl_shared.errors import ModelError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import Encoder
from emr_fl_shared.text.lexicon import load_lexicon
from emr_fl_shared.text.placeholders import PLACEHOLDER

TOLERANCE = 0.01
"""Of the completeness axiom, as a share of the difference."""
FEWEST_NODES, MOST_NODES = 16, 512
_AT_ONCE = 32
"""Nodes in one batch: memory stays flat whatever their number."""
_RUN = re.compile(rf"(?:{PLACEHOLDER.pattern})|[A-Za-z]+|\d+(?:\.\d+)?|\S")


@dataclass(frozen=True)
class WordWeight:
    """text[start:end] and what it adds: to a logit (integrated gradients), or its share of the attention (roll-out)."""

    start: int
    end: int
    word: str = field(repr=False)
    weight: float


@dataclass(frozen=True)
class Explanation:
    """Why a label has its logit. Σ weights = `logit` − `baseline` up to `error`, a share of that difference; `nodes`: of the integral."""

    label: int
    words: tuple[WordWeight, ...] = field(repr=False)
    logit: float
    baseline: float
    error: float
    nodes: int


@dataclass(frozen=True)
class _Read:
    """One text as the model reads it: ids and mask [1, L], offsets of the tokens, and which are special."""

    ids: Tensor
    mask: Tensor
    offsets: list[tuple[int, int]]
    special: NDArray[np.bool_]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Disjoint spans of all words, in reading order; white space is in none."""
    spans = [(match.start, match.end) for match in load_lexicon().matches(text)]
    taken = bytearray(len(text))
    for start, end in spans:
        taken[start:end] = b"\x01" * (end - start)
    free = "".join(" " if taken[place] else char for place, char in enumerate(text))
    return sorted([*spans, *(match.span() for match in _RUN.finditer(free))])


def integrated_gradients(encoder: Encoder, text: str, labels: Sequence[int]) -> list[Explanation]:
    """Explain these labels' logits for one text that is as the model reads it; the model is left as it was.

    Raises ModelError if the tokenizer gives no offsets or the model takes no embedded tokens.
    """
    read = _read(encoder, text)
    model = encoder.model
    was_training, wanted = model.training, [parameter.requires_grad for parameter in model.parameters()]
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    try:
        embedding = model.get_input_embeddings()
        with torch.no_grad():
            embedded = embedding(read.ids)
            padding = embedding(torch.full_like(read.ids, int(model.config.pad_token_id or 0)))
            kept = torch.from_numpy(read.special).to(embedded.device)[None, :, None]
            empty = torch.where(kept, embedded, padding)
            ends = _logits(model, torch.cat([embedded, empty]), read.mask).double()
        return [_explain(model, read, embedded, empty, ends[:, label], label, text) for label in labels]
    finally:
        for parameter, requires in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(requires)
        model.train(was_training)


def attention_rollout(encoder: Encoder, text: str) -> tuple[WordWeight, ...]:
    """The share of the attention that flows from the pooled state to each word of one text, special tokens left out.

    Attention of each layer, mean of its heads: Â = (A + I) / 2; roll-out: the product of all Â. Read from [CLS], or as the mean of all
    rows where the model pools by the mean. Raises ModelError if the tokenizer gives no offsets or the model no attention.
    """
    read = _read(encoder, text)
    model = encoder.model
    was_training, implementation = model.training, model.config._attn_implementation
    model.eval()
    try:
        model.set_attn_implementation("eager")  # fused attention keeps no weights
        with torch.no_grad():
            layers = model(input_ids=read.ids, attention_mask=read.mask, output_attentions=True).attentions
    except (TypeError, ValueError, AttributeError) as error:
        raise _cannot(tr("gives no attention", "不提供注意力"), error) from error
    finally:
        model.set_attn_implementation(implementation)
        model.train(was_training)
    if not layers:
        raise _cannot(tr("gives no attention", "不提供注意力"))
    flow = torch.eye(read.ids.shape[1], dtype=torch.float64, device=read.ids.device)
    for attention in layers:
        mean = attention[0].double().mean(dim=0)
        flow = (mean + torch.eye(len(mean), dtype=torch.float64, device=mean.device)) / 2 @ flow
    pools_by_mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
    pooled = flow.mean(dim=0) if pools_by_mean else flow[0]
    return _by_word(text, read, pooled.cpu().numpy())


def _explain(
    model: Any, read: _Read, embedded: Tensor, empty: Tensor, ends: Tensor, label: int, text: str
) -> Explanation:
    logit, baseline = float(ends[0]), float(ends[1])
    difference = logit - baseline
    nodes = FEWEST_NODES
    while True:
        weights = _integrate(model, read, embedded, empty, label, nodes)
        error = abs(float(weights.sum()) - difference) / max(abs(difference), 1e-6)
        if error <= TOLERANCE or nodes >= MOST_NODES:
            break
        nodes *= 2
    return Explanation(label, _by_word(text, read, weights), logit, baseline, error, nodes)


def _integrate(
    model: Any, read: _Read, embedded: Tensor, empty: Tensor, label: int, nodes: int
) -> NDArray[np.float64]:
    """What each token adds to the label's logit, float64 [L], by a sum over so many nodes."""
    places, shares = np.polynomial.legendre.leggauss(nodes)
    way = embedded - empty
    total = torch.zeros(way.shape[1:], dtype=torch.float64, device=way.device)
    for first in range(0, nodes, _AT_ONCE):
        at = torch.tensor((places[first : first + _AT_ONCE] + 1) / 2, device=way.device, dtype=way.dtype)
        points = (empty + at[:, None, None] * way).requires_grad_(True)
        (slopes,) = torch.autograd.grad(_logits(model, points, read.mask)[:, label].sum(), points)
        share = torch.tensor(shares[first : first + _AT_ONCE] / 2, device=way.device)
        total += (slopes.double() * share[:, None, None]).sum(dim=0)
    added: NDArray[np.float64] = (total * way[0].double()).sum(dim=-1).cpu().numpy()
    return added


def _logits(model: Any, embedded: Tensor, mask: Tensor) -> Tensor:
    """Logits [m, K] of embedded tokens [m, L, H] that share one mask."""
    try:
        logits: Tensor = model(inputs_embeds=embedded, attention_mask=mask.expand(len(embedded), -1)).logits
    except (TypeError, ValueError) as error:
        raise _cannot(tr("takes no embedded tokens", "不接受嵌入后的输入"), error) from error
    return logits


def _read(encoder: Encoder, text: str) -> _Read:
    if not getattr(encoder.tokenizer, "is_fast", False):
        raise _cannot(tr("has a tokenizer that gives no offsets", "的分词器不提供字符位置"))
    encoded = encoder.tokenizer(
        text,
        truncation=True,
        max_length=encoder.max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    device = next(encoder.model.parameters()).device
    ids = torch.tensor([encoded["input_ids"]], device=device)
    special = np.array(encoded["special_tokens_mask"], dtype=np.bool_)
    return _Read(ids, torch.ones_like(ids), [tuple(pair) for pair in encoded["offset_mapping"]], special)


def _by_word(text: str, read: _Read, weights: NDArray[np.float64]) -> tuple[WordWeight, ...]:
    """The tokens' weights summed over the word in which each begins; a word of which nothing was read is left out."""
    spans = word_spans(text)
    word_at = np.full(len(text) + 1, -1)
    for index, (start, end) in enumerate(spans):
        word_at[start:end] = index
    found: dict[int, float] = {}
    for (start, end), special, weight in zip(read.offsets, read.special, weights, strict=True):
        if special or start == end:
            continue
        # a token may begin with the space before its word
        inside = next((int(word_at[place]) for place in range(start, end) if word_at[place] >= 0), -1)
        if inside >= 0:
            found[inside] = found.get(inside, 0.0) + float(weight)
    return tuple(
        WordWeight(*spans[index], text[slice(*spans[index])], weight)
        for index, weight in sorted(found.items())
    )


def _cannot(why: str, error: Exception | None = None) -> ModelError:
    return ModelError(
        tr("this model can't be explained: it ", "无法解释该模型：它") + why,
        where="--explain",
        got=type(error).__name__ if error is not None else "",
    )
