"""One round of masked language modelling at a site: texts without labels, the same step as classification.

Loss of a record: mean cross-entropy over its chosen tokens (`model.masking`), and of a batch: mean over its records. Deviation from
BERT, which takes the mean over all chosen tokens of the batch: so a batch can go in parts with the same gradient, and no record's
share depends on the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from emr_fl_client.adversarial import AdversarialSettings, StepContext
from emr_fl_client.adversarial.passes import accumulate
from emr_fl_client.dataset.batch import Batch
from emr_fl_client.dataset.buckets import bucketed_batches
from emr_fl_client.training.loop import Draws, Progress, TrainResult
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.schedule import progress, rate_factor
from emr_fl_client.training.step import GradientTerm, OptimiserSettings, TrainingStep, not_finite
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.batching import pad_batch
from emr_fl_shared.model.masked_lm import MaskedLM, masked_logits
from emr_fl_shared.model.masking import IGNORED, Masking, read_words
from emr_fl_shared.model.precision import choose_precision


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """`mask`: share of the tokens that are chosen; the rest as in `TrainingSettings`."""

    epochs: int = 1
    batch_size: int = 32
    mask: float = 0.15
    warmup: float = 0.06
    precision: str = "auto"
    micro_batch: int | None = None
    report_every: int = 10
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)


class MaskedTokens:
    """The gradient of masked language modelling, in the place of a method of adversarial training.

    The targets of its batches are token ids, int64 [B, L], `IGNORED` where nothing is predicted.
    """

    name = "mlm"
    per_record = True

    def __init__(self) -> None:
        self.settings = AdversarialSettings()

    def backward(self, model: nn.Module, batch: Batch, loss: MultiLabelLoss, context: StepContext) -> Tensor:
        """Accumulate the gradient of the mean over the records; the loss of each record, [B]. `loss` is not used."""
        targets = batch.targets[:, : batch.input_ids.shape[1]]
        there = targets != IGNORED
        with context.precision.autocast():
            logits = masked_logits(model, batch.input_ids, batch.attention_mask, there)
        by_token = cross_entropy(logits.float(), targets[there], reduction="none")
        rows = there.nonzero()[:, 0]
        losses = by_token.new_zeros(len(targets)).index_add(0, rows, by_token)
        losses = losses / there.sum(dim=1).clamp(min=1)
        accumulate(losses.mean(), context)
        return losses.detach()


def pretrain_round(
    masked: MaskedLM,
    texts: Sequence[str],
    settings: PretrainingSettings,
    *,
    terms: Sequence[GradientTerm] = (),
    round_number: int = 1,
    rounds: int = 1,
    seed: int = 0,
    progress_callback: Progress | None = None,
) -> TrainResult:
    """Train `masked.model` in place on `texts`. Equal input, seed and round give equal weights, as in `train_round`.

    Every epoch masks anew. Texts without a word that could be masked are left out.

    Raises:
        DataError: no text is left.
        ModelError: the loss or its gradient is not finite.
    """
    read = [text for text in read_words(masked.tokenizer, texts, masked.max_length) if text.words]
    if not read:
        raise DataError(tr("there is no text to train on", "没有可用于训练的文本"), got="0", expected="> 0")
    started = time.perf_counter()
    model = masked.model
    device = next(model.parameters()).device
    precision = choose_precision(settings.precision, device, masked.parameters)
    draws = Draws(seed, round_number, device)
    masking = Masking(masked.tokenizer, settings.mask)
    total = -(-len(read) // settings.batch_size) * settings.epochs
    method, step = MaskedTokens(), 0
    summed = torch.zeros((), device=device)
    since_report: list[Tensor] = []
    was_training = model.training
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(draws.seed_of("dropout"))
        model.train()
        runner = TrainingStep(
            model, MultiLabelLoss(), settings.optimiser, precision, draws.torch, terms, settings.micro_batch
        )
        for _ in range(settings.epochs):
            lengths = [len(text.token_ids) for text in read]
            for rows in bucketed_batches(lengths, settings.batch_size, draws.numpy):
                drawn = [masking.draw(read[row], draws.numpy) for row in rows]
                batch = _batch(drawn, int(masked.tokenizer.pad_token_id), masked.max_length, device)
                at = progress(round_number, rounds, step, total)
                rate = settings.optimiser.learning_rate * rate_factor(at, warmup=settings.warmup)
                value = runner.run(batch, method, rate)
                step += 1
                summed = summed + value * len(rows)
                since_report.append(value)
                if step % settings.report_every == 0 or step == total:
                    recent = float(torch.stack(since_report).mean())
                    since_report.clear()
                    if not np.isfinite(recent):
                        raise not_finite()
                    if progress_callback is not None:
                        progress_callback(step, total, recent)
    model.train(was_training)
    return TrainResult(
        loss=float(summed) / (len(read) * settings.epochs),
        examples=len(read),
        steps=step,
        seconds=time.perf_counter() - started,
        augmented=0,
        skipped_steps=runner.skipped,
        precision=precision.name,
    )


def _batch(
    drawn: Sequence[tuple[list[int], list[int]]], pad_token_id: int, limit: int, device: torch.device
) -> Batch:
    ids, mask = pad_batch([ids for ids, _ in drawn], pad_token_id, limit=limit, device=device)
    targets, _ = pad_batch([targets for _, targets in drawn], IGNORED, limit=limit, device=device)
    return Batch(ids, mask, targets)
