"""One round of local training under differential privacy: `train_round`, with what a bound on one unit's influence asks for.

Poisson sampling of units in the place of shuffled epochs; one clip a unit and one draw of noise a step (`step.py`). All that is drawn
— who takes part, augmentation, δ₀, dropout — comes from a fresh secret, never from the training seed: the number of draws depends on
who takes part, so that under a seed that others know, a unit that leaves would change everybody else's draws. Therefore two runs are
never the same, and a finished update is kept and sent again instead of drawn again (`kept.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emr_fl_client.adversarial import AdversarialSchedule
from emr_fl_client.dataset.batch import make_batch
from emr_fl_client.training.averaging import WeightAverage
from emr_fl_client.training.loop import Augment, Draws, Progress, TrainingSettings, TrainResult, tokenised
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.private.gradients import record_gradients
from emr_fl_client.training.private.step import Part, PrivateStep
from emr_fl_client.training.private.units import Rows, packed
from emr_fl_client.training.schedule import progress, rate_factor
from emr_fl_client.training.step import GradientTerm
from emr_fl_shared.model.encoder import Encoder, encode
from emr_fl_shared.model.precision import FP32
from emr_fl_shared.privacy import NoiseStream

PHYSICAL_BATCH = 8
"""Records a forward pass where `training.micro_batch` is left out: their gradients are in memory one by one."""


@dataclass(frozen=True, slots=True)
class PrivateSettings:
    """Of the mechanism. `noise_multiplier` σ, `clipping_norm` C; `freeze_embeddings`: word embeddings stay as received, and need no noise."""

    noise_multiplier: float
    clipping_norm: float
    freeze_embeddings: bool = False


def sampling(units: int, settings: TrainingSettings) -> tuple[float, int]:
    """Sampling rate q and steps of a round over so many units; `batch_size` is the number of units expected in a step."""
    return min(1.0, settings.batch_size / units), -(-units // settings.batch_size) * settings.epochs


def train_round_privately(
    encoder: Encoder,
    texts: Sequence[str],
    y: NDArray[np.bool_],
    units: Sequence[Rows],
    settings: TrainingSettings,
    privacy: PrivateSettings,
    *,
    chapters: Sequence[str] | None = None,
    terms: Sequence[GradientTerm] = (),
    round_number: int = 1,
    rounds: int = 1,
    progress_callback: Progress | None = None,
    augment: Augment | None = None,
    stream: NoiseStream | None = None,
) -> TrainResult:
    """Train `encoder.model` in place, in float32; `sampling(len(units), settings)` says what this spends, once for each call.

    `units`: rows of `texts` and `y` (bool [n, K]) that belong together. `settings` are to be ones that couple no records
    (`private_conflicts`). The result's loss is for the site's own eyes. `stream`: for tests.

    Raises:
        ModelError: the encoder gives no gradient for each record.
    """
    started = time.perf_counter()
    stream = stream or NoiseStream()
    model = encoder.model
    device = next(model.parameters()).device
    draws = Draws(stream.seed(), round_number, device)
    schedule = AdversarialSchedule(settings.adversarial, settings.consistency)
    token_ids = encode(encoder.tokenizer, texts, encoder.max_length)
    loss = MultiLabelLoss(settings.loss, chapters=chapters)
    rate, total = sampling(len(units), settings)
    average = WeightAverage(model, settings.averaging, total)
    drawn_records = augmented = 0
    summed = 0.0
    was_training = model.training
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _frozen(model, privacy.freeze_embeddings):
        torch.manual_seed(draws.seed_of("dropout"))
        model.train()
        with record_gradients(model) as gradients:
            runner = PrivateStep(
                model,
                gradients,
                loss,
                settings.optimiser,
                draws.torch,
                stream,
                clipping_norm=privacy.clipping_norm,
                noise_multiplier=privacy.noise_multiplier,
                expected=rate * len(units),
                terms=terms,
            )
            for step in range(total):
                drawn = [units[unit] for unit in np.flatnonzero(stream.bernoulli(len(units), rate)).tolist()]
                rows = np.concatenate([np.empty(0, dtype=np.int64), *drawn])
                ids, changed = tokenised(encoder, texts, token_ids, rows, settings, augment, draws.python)
                augmented += len(changed)
                at = progress(round_number, rounds, step, total)
                learning_rate = settings.optimiser.learning_rate * rate_factor(
                    at, warmup=settings.warmup, decay=settings.decay
                )
                losses = runner.run(
                    _parts(drawn, ids, y[rows], settings, encoder, device),
                    schedule.at(step, at),
                    learning_rate,
                )
                average.take(step + 1)
                drawn_records += len(losses)
                summed += float(losses.sum())
                if progress_callback is not None and (
                    (step + 1) % settings.report_every == 0 or step + 1 == total
                ):
                    progress_callback(step + 1, total, summed / max(1, drawn_records))
    average.put()
    model.train(was_training)
    return TrainResult(
        loss=summed / max(1, drawn_records),
        examples=len(texts),
        steps=total,
        seconds=time.perf_counter() - started,
        augmented=augmented,
        skipped_steps=0,
        precision=FP32.name,
    )


def _parts(
    drawn: Sequence[Rows],
    ids: Sequence[list[int]],
    y: NDArray[np.bool_],
    settings: TrainingSettings,
    encoder: Encoder,
    device: torch.device,
) -> Iterator[Part]:
    """The drawn units in parts that fit into memory; `ids` and `y` are those of their records, unit after unit."""
    sizes = [len(unit) for unit in drawn]
    spans = np.split(np.arange(len(ids)), np.cumsum(sizes)[:-1])
    longest = [max(len(ids[position]) for position in span) for span in spans[: len(drawn)]]
    for chosen in packed(drawn, longest, settings.micro_batch or PHYSICAL_BATCH):
        positions = np.concatenate([spans[unit] for unit in chosen])
        batch = make_batch(
            [ids[position] for position in positions],
            y[positions],
            int(encoder.tokenizer.pad_token_id),
            limit=encoder.max_length,
            device=device,
        )
        owners = np.repeat(np.arange(len(chosen)), [sizes[unit] for unit in chosen])
        yield Part(batch, torch.from_numpy(owners).to(device))


@contextmanager
def _frozen(model: nn.Module, freeze: bool) -> Iterator[None]:
    """Word embeddings without a gradient, if asked for."""
    weight: nn.Parameter = model.get_input_embeddings().weight  # type: ignore[operator]
    was = weight.requires_grad
    weight.requires_grad_(was and not freeze)
    try:
        yield
    finally:
        weight.requires_grad_(was)
