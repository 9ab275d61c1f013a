"""One round of local training: the epochs that a site runs between two exchanges with the server."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from emr_fl_client.adversarial import AdversarialSchedule, AdversarialSettings, ConsistencySettings
from emr_fl_client.augment.rewriter import Rewriter, Rewriters
from emr_fl_client.dataset.batch import make_batch
from emr_fl_client.dataset.buckets import bucketed_batches
from emr_fl_client.dataset.sampling import balanced_weights, draw_epoch
from emr_fl_client.training.averaging import AveragingSettings, WeightAverage
from emr_fl_client.training.losses import LabelFrequencies, LossSettings, MultiLabelLoss
from emr_fl_client.training.mixup import mix
from emr_fl_client.training.schedule import Decay, progress, rate_factor
from emr_fl_client.training.step import GradientTerm, OptimiserSettings, TrainingStep, not_finite
from emr_fl_shared.errors import DataError
from emr_fl_shared.messages import tr
from emr_fl_shared.model.encoder import Encoder, encode, output_layer
from emr_fl_shared.model.precision import choose_precision

Augment = Callable[[str, random.Random], str]
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that one round of training depends on beside the data.

    Attributes:
        epochs: passes over as many records as the site has.
        balance: exponent of class-balanced sampling; 0 takes every record once.
        augment_probability: share of the drawn records that the augmenter is asked about.
        warmup: share of the whole federation over which the learning rate rises.
        mixup_probability, mixup_alpha: share of the batches that are mixed, and α of λ ~ Beta(α, α).
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        micro_batch: most records a forward pass; `None`: the whole batch.
        report_every: steps between two calls of the progress callback and two checks of the loss.
    """

    epochs: int = 1
    batch_size: int = 32
    warmup: float = 0.06
    decay: Decay = "linear"
    balance: float = 0.5
    augment_probability: float = 0.5
    mixup_probability: float = 0.0
    mixup_alpha: float = 0.4
    precision: str = "auto"
    micro_batch: int | None = None
    report_every: int = 10
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    adversarial: AdversarialSettings = field(default_factory=AdversarialSettings)
    averaging: AveragingSettings = field(default_factory=AveragingSettings)
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a round of training says about itself: numbers only.

    `loss` mean over the records drawn; `examples` records the site trained on (the weight of its update);
    `augmented` draws whose text was changed; `skipped_steps` overflowed fp16 steps.
    """

    loss: float
    examples: int
    steps: int
    seconds: float
    augmented: int
    skipped_steps: int
    precision: str


def train_round(
    encoder: Encoder,
    texts: Sequence[str],
    y: NDArray[np.bool_],
    settings: TrainingSettings,
    *,
    label_mask: NDArray[np.bool_] | None = None,
    chapters: Sequence[str] | None = None,
    label_counts: NDArray[np.int64] | None = None,
    terms: Sequence[GradientTerm] = (),
    round_number: int = 1,
    rounds: int = 1,
    seed: int = 0,
    progress_callback: Progress | None = None,
    augment: Augment | None = None,
    rewriters: Rewriters | None = None,
    noise: Augment | None = None,
) -> TrainResult:
    """Train `encoder.model` in place on `texts` with labels `y` (bool [n, K]).

    Equal input, seed and round give equal weights, whatever was trained before: the optimiser starts fresh, and every
    draw (sample, batches, augmentation, noise, δ₀, dropout) comes from generators seeded by (seed, round). Torch's
    global generators and thread count are left as they were.

    Args:
        label_mask: bool [K], the labels that the site has; the output rows of the others do not move at all.
        chapters: of each label its chapter, "" for none; needed by `settings.loss.coarse` only.
        label_counts: int64 [K], records of each label in the whole federation; sampling goes by the site's own without them.
        terms: what is added to the gradient of the loss; on the output rows of labels that the site does not have it is not.
        round_number: 1 … `rounds`; only the learning rate and the seeds depend on it.
        progress_callback: called as (step, steps, mean loss since the last call).
        augment: text and generator → text; its output is tokenised anew, unchanged texts are tokenised once.
        rewriters: takes its share of the texts that `augment` would have been asked about, in batches.
        noise: makes the noised copies of the texts drawn (after augmentation); asked only if `consistency` has a weight.

    Raises:
        DataError: there is no record to train on.
        ModelError: the loss or its gradient is not finite; the model is then of no use.
    """
    if len(texts) == 0 or len(texts) != len(y):
        raise DataError(
            tr("there is no record to train on", "没有可用于训练的记录"),
            got=f"{len(texts)} / {len(y)}",
            expected="> 0",
        )
    started = time.perf_counter()
    model = encoder.model
    device = next(model.parameters()).device
    precision = choose_precision(settings.precision, device, encoder.parameters)
    draws = Draws(seed, round_number, device)
    mask = None if label_mask is None else torch.from_numpy(np.asarray(label_mask, dtype=np.bool_)).to(device)
    schedule = AdversarialSchedule(settings.adversarial, settings.consistency)
    pad_token_id = int(encoder.tokenizer.pad_token_id)
    token_ids = encode(encoder.tokenizer, texts, encoder.max_length)
    weights = balanced_weights(y, settings.balance, label_counts) if settings.balance else None
    loss = MultiLabelLoss(settings.loss, mask, LabelFrequencies.of(y, weights, device), chapters)
    frozen = _MaskedRows(model, mask)

    # The plan of batches comes first, so that the number of steps is known to the schedule.
    per_epoch = -(-len(texts) // settings.batch_size)
    total = per_epoch * settings.epochs
    average = WeightAverage(model, settings.averaging, total)
    step = augmented = 0
    summed = torch.zeros((), device=device)
    since_report: list[torch.Tensor] = []
    was_training = model.training
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(draws.seed_of("dropout"))
        model.train()
        # without a term there is nothing in the masked rows' gradient to take out
        added = (*terms, frozen) if terms else ()
        runner = TrainingStep(
            model, loss, settings.optimiser, precision, draws.torch, added, settings.micro_batch
        )
        for _ in range(settings.epochs):
            rows = (
                draw_epoch(weights, len(texts), draws.numpy)
                if weights is not None
                else np.arange(len(texts), dtype=np.int64)
            )
            drawn, changed = _tokenised(encoder, texts, token_ids, rows, settings, augment, rewriters, draws)
            augmented += len(changed)
            noised = _noised(encoder, texts, rows, changed, settings.consistency, noise, draws.noise)
            for positions in bucketed_batches([len(ids) for ids in drawn], settings.batch_size, draws.numpy):
                batch = make_batch(
                    [drawn[position] for position in positions],
                    y[rows[positions]],
                    pad_token_id,
                    limit=encoder.max_length,
                    device=device,
                    noised=[noised.get(int(position), []) for position in positions] if noised else None,
                )
                if settings.mixup_probability and draws.mixup.random() < settings.mixup_probability:
                    batch = mix(batch, settings.mixup_alpha, draws.mixup)
                at = progress(round_number, rounds, step, total)
                rate = settings.optimiser.learning_rate * rate_factor(
                    at, warmup=settings.warmup, decay=settings.decay
                )
                value = runner.run(batch, schedule.at(step, at), rate)
                step += 1
                average.take(step)
                summed = summed + value * len(positions)
                since_report.append(value)
                if step % settings.report_every == 0 or step == total:
                    recent = float(torch.stack(since_report).mean())
                    since_report.clear()
                    if not np.isfinite(recent):
                        raise not_finite()
                    if progress_callback is not None:
                        progress_callback(step, total, recent)
    average.put()
    frozen.restore()
    model.train(was_training)
    return TrainResult(
        loss=float(summed) / (len(texts) * settings.epochs),
        examples=len(texts),
        steps=step,
        seconds=time.perf_counter() - started,
        augmented=augmented,
        skipped_steps=runner.skipped,
        precision=precision.name,
    )


def _tokenised(
    encoder: Encoder,
    texts: Sequence[str],
    token_ids: Sequence[list[int]],
    rows: NDArray[np.int64],
    settings: TrainingSettings,
    augment: Augment | None,
    rewriters: Rewriters | None,
    draws: Draws,
) -> tuple[list[list[int]], dict[int, str]]:
    """Token ids of the epoch's records, after augmentation, and the texts that it changed, by position in `rows`."""
    drawn = [token_ids[row] for row in rows]
    if (augment is None and rewriters is None) or settings.augment_probability <= 0.0:
        return drawn, {}
    generator = draws.python
    changed: dict[int, str] = {}
    waiting: dict[Rewriter, list[int]] = {}
    for position, row in enumerate(rows):
        if generator.random() < settings.augment_probability:
            if rewriters is not None and (rewriter := rewriters.draw(draws.rewriting)) is not None:
                waiting.setdefault(rewriter, []).append(position)
                continue
            if augment is None:
                continue
            original = texts[int(row)]
            text = augment(original, generator)
            if text != original:
                changed[position] = text
    for rewriter, positions in waiting.items():
        originals = [texts[int(rows[position])] for position in positions]
        rewritten = rewriter.rewrite(originals, draws.rewriting)
        changed |= {
            position: text
            for position, original, text in zip(positions, originals, rewritten, strict=True)
            if text != original
        }
    for position, ids in zip(
        changed, encode(encoder.tokenizer, list(changed.values()), encoder.max_length), strict=True
    ):
        drawn[position] = ids
    return drawn, changed


def _noised(
    encoder: Encoder,
    texts: Sequence[str],
    rows: NDArray[np.int64],
    changed: Mapping[int, str],
    settings: ConsistencySettings,
    noise: Augment | None,
    generator: random.Random,
) -> dict[int, list[int]]:
    """Token ids of the noised copies, by position in `rows`; a text that the noise leaves as it is has none.

    `changed`: the texts that augmentation put in the place of the rows' own.
    """
    if noise is None or settings.weight == 0.0:
        return {}
    copies: dict[int, str] = {}
    for position, row in enumerate(rows):
        if generator.random() < settings.probability:
            text = changed.get(position, texts[int(row)])
            copy = noise(text, generator)
            if copy != text:
                copies[position] = copy
    ids = encode(encoder.tokenizer, list(copies.values()), encoder.max_length)
    return dict(zip(copies, ids, strict=True))


class _MaskedRows:
    """The output rows of labels that the site does not have, put back after the round.

    Their gradient is 0 — the loss does not see them — but weight decay would still shrink them.
    """

    def __init__(self, model: torch.nn.Module, mask: torch.Tensor | None) -> None:
        self._kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        self._rows = None if mask is None else ~mask
        if self._rows is not None and bool(self._rows.any()):
            _, layer = output_layer(model, len(self._rows))
            self._kept = [(p, p.detach()[self._rows].clone()) for p in layer.parameters()]

    def adjust(self) -> None:
        """No gradient in these rows, whatever a term added: it would count in the norm that is clipped."""
        for parameter, _ in self._kept:
            if parameter.grad is not None:
                parameter.grad[self._rows] = 0.0

    @torch.no_grad()
    def restore(self) -> None:
        for parameter, rows in self._kept:
            parameter[self._rows] = rows


class Draws:
    """Generators of one round, each with its own seed derived from (seed, round, purpose)."""

    def __init__(self, seed: int, round_number: int, device: torch.device) -> None:
        self._root = f"{seed}/{round_number}"
        self.numpy = np.random.default_rng(self.seed_of("batches"))
        self.python = random.Random(self.seed_of("augmentation"))
        self.rewriting = random.Random(self.seed_of("rewriting"))
        self.mixup = np.random.default_rng(self.seed_of("mixup"))
        self.noise = random.Random(self.seed_of("noise"))
        self.torch = torch.Generator(device=device)
        self.torch.manual_seed(self.seed_of("perturbation"))

    def seed_of(self, purpose: str) -> int:
        digest = hashlib.sha256(f"{self._root}/{purpose}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
