"""What a step of training costs, as ratios measured in one run: `python tests/benchmarks/training_step.py`.

All configurations train the same `tiny` on the same notes, one torch thread, in turns (one epoch each, then the next
configuration), so that a busy machine slows all of them alike; a ratio is taken inside each turn, and its
median over the turns is printed with the smallest and the largest.
Notes are random characters with the lengths of the sample federation's (10th, 50th, 90th percentile: 50, 89, 115).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from emr_fl_client.adversarial import AdversarialMethod, AdversarialSettings, build_method
from emr_fl_client.dataset.batch import Batch, make_batch
from emr_fl_client.dataset.buckets import bucketed_batches, shuffled_batches
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.step import OptimiserSettings, TrainingStep
from emr_fl_shared.model.encoder import build_model
from emr_fl_shared.model.precision import Precision, choose_precision

BATCH = 32
LABELS = 50


@dataclass(frozen=True)
class Configuration:
    """One row of the table. `against` names the row that it is compared with."""

    name: str
    adversarial: AdversarialSettings
    batching: str = "bucketed"
    precision: str = "auto"
    attention: str = "eager"
    against: str = "plain"


def freelb(**changes: object) -> AdversarialSettings:
    return AdversarialSettings(method="freelb", **{"steps": 2, **changes})  # type: ignore[arg-type]


PLAIN = AdversarialSettings()
CONFIGURATIONS = [
    Configuration("plain", PLAIN),
    Configuration("FreeLB K=2, all records", freelb()),
    Configuration("FreeLB K=2, top-loss half", freelb(top_loss=0.5)),
    Configuration("FreeLB K=2, top-loss quarter", freelb(top_loss=0.25)),
    Configuration("FreeLB K=3, top-loss half", freelb(steps=3, top_loss=0.5)),
    Configuration("FreeLB K=2, every second step", freelb(every=2)),
    Configuration("plain, batches at random", PLAIN, batching="random"),
    Configuration("plain, fixed length 128", PLAIN, batching="fixed"),
    Configuration("plain, float32", PLAIN, precision="fp32"),
    Configuration("plain, bfloat16", PLAIN, precision="bf16"),
    Configuration("plain, SDPA attention", PLAIN, attention="sdpa"),
]


def notes(count: int, generator: np.random.Generator) -> tuple[list[list[int]], np.ndarray]:
    """Token ids and labels of `count` random notes."""
    lengths = np.clip(generator.normal(88, 26, count), 12, 128).astype(int)
    ids = [generator.integers(1000, 7000, length).tolist() for length in lengths]
    return ids, generator.random((count, LABELS)) < 1.5 / LABELS


def epoch_of(configuration: Configuration, ids: list[list[int]], y: np.ndarray) -> Callable[[int], float]:
    """A function that trains one epoch and returns its seconds; the argument seeds its batches."""
    encoder = build_model("tiny", [str(label) for label in range(LABELS)], max_length=128, seed=0)
    encoder.model.set_attn_implementation(configuration.attention)
    encoder.model.train()
    device = torch.device("cpu")
    precision: Precision = choose_precision(configuration.precision, device, encoder.parameters)
    generator = torch.Generator().manual_seed(0)
    optimiser = OptimiserSettings(learning_rate=1e-3)
    runner = TrainingStep(encoder.model, MultiLabelLoss(), optimiser, precision, generator)
    method: AdversarialMethod = build_method(configuration.adversarial)
    plain = build_method(PLAIN)

    def batches(turn: int) -> list[Batch]:
        draws = np.random.default_rng(turn)
        if configuration.batching == "bucketed":
            plan = bucketed_batches([len(row) for row in ids], BATCH, draws)
        else:
            plan = shuffled_batches(len(ids), BATCH, draws)
        fixed = 128 if configuration.batching == "fixed" else None
        return [make_batch([ids[i] for i in rows], y[rows], 0, limit=128, length=fixed) for rows in plan]

    def run(turn: int) -> float:
        prepared = batches(turn)
        started = time.perf_counter()
        for step, batch in enumerate(prepared):
            runner.run(batch, method if step % configuration.adversarial.every == 0 else plain, 1e-3)
        return time.perf_counter() - started

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=int, default=384)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ids, y = notes(arguments.notes, np.random.default_rng(0))
    runs = {c.name: epoch_of(c, ids, y) for c in CONFIGURATIONS}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(arguments.turns + 1):  # the first turn warms up
        for name, run in runs.items():
            seconds[name].append(run(turn))
    steps = -(-arguments.notes // BATCH)
    parameters = build_model("tiny", [str(label) for label in range(LABELS)]).parameters
    chosen = choose_precision("auto", torch.device("cpu"), parameters).name
    print(f"tiny: {parameters:,} parameters, batches of {BATCH}, 1 thread, auto precision here: {chosen}")
    print(
        f"\n{'configuration':32} {'ms a step':>9}  {'ratio':>5}  (smallest – largest of {arguments.turns} turns)"
    )
    for configuration in CONFIGURATIONS:
        own, base = seconds[configuration.name][1:], seconds[configuration.against][1:]
        ratios = [a / b for a, b in zip(own, base, strict=True)]
        print(
            f"{configuration.name:32} {1000 * statistics.median(own) / steps:9.1f}  {statistics.median(ratios):5.2f}"
            f"  ({min(ratios):.2f} – {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
