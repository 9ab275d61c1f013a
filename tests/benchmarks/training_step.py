"""What a step of training costs, as ratios measured in one run: `python tests/benchmarks/training_step.py`.

All configurations train the same `tiny` on the same notes, one torch thread, in turns (one epoch each, then the next
configuration), so that a busy machine slows all of them alike; a ratio is taken inside each turn, and its
median over the turns is printed with the smallest and the largest. `cpu` is the same ratio of the processor's seconds, which other
load on the machine disturbs less.
`phases` go through once an epoch here; in a federation they go through once in all its rounds.
Notes are random characters with the lengths of the sample federation's (10th, 50th, 90th percentile: 50, 89, 115).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from emr_fl_client.adversarial import AdversarialSchedule, AdversarialSettings, ConsistencySettings
from emr_fl_client.dataset.batch import Batch, make_batch
from emr_fl_client.dataset.buckets import bucketed_batches, shuffled_batches
from emr_fl_client.training.losses import MultiLabelLoss
from emr_fl_client.training.step import OptimiserSettings, TrainingStep
from emr_fl_shared.config.settings import Adversarial
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
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)
    micro_batch: int | None = None


def method(name: str, **changes: object) -> AdversarialSettings:
    return AdversarialSettings(method=name, **changes)  # type: ignore[arg-type]


def preset(name: str) -> dict[str, object]:
    """What `training.adversarial.preset` stands for."""
    chosen = Adversarial.model_validate({"preset": name})
    return {key: getattr(chosen, key) for key in ("steps", "top_loss", "every", "radius")}


PLAIN = AdversarialSettings()
CONSISTENT = ConsistencySettings(weight=1.0)
CONFIGURATIONS = [
    Configuration("plain", PLAIN),
    Configuration("FGSM, half clean", method("fgsm", weight=0.5)),
    Configuration("FGSM, half clean, top-loss half", method("fgsm", weight=0.5, top_loss=0.5)),
    Configuration("FGSM, adversarial loss alone", method("fgsm")),
    Configuration("PGD K=2", method("pgd", steps=2)),
    Configuration("PGD K=2, every second step", method("pgd", steps=2, every=2)),
    Configuration("PGD K=3", method("pgd", steps=3)),
    Configuration("FreeLB K=2, all records", method("freelb", steps=2)),
    Configuration("FreeLB K=2, top-loss half", method("freelb", steps=2, top_loss=0.5)),
    Configuration("FreeLB K=2, top-loss quarter", method("freelb", steps=2, top_loss=0.25)),
    Configuration("FreeLB K=3, top-loss half", method("freelb", steps=3, top_loss=0.5)),
    Configuration("FreeLB K=2, every second step", method("freelb", steps=2, every=2)),
    Configuration("FreeLB K=2, half, every second", method("freelb", steps=2, top_loss=0.5, every=2)),
    Configuration("FreeLB preset fast", method("freelb", **preset("fast"))),
    Configuration("FreeLB preset balanced", method("freelb", **preset("balanced"))),
    Configuration("FreeLB preset robust", method("freelb", **preset("robust"))),
    Configuration("FreeLB K=2 in the second half", method("freelb", phases=(0, 2))),
    Configuration("FreeLB K=5, half clean (paper)", method("freelb", steps=5, weight=0.5)),
    Configuration("VAT K=1", method("vat", steps=1)),
    Configuration("VAT K=1, top-loss half", method("vat", steps=1, top_loss=0.5)),
    Configuration("VAT K=1, every third step", method("vat", steps=1, every=3)),
    Configuration("SMART K=1", method("smart", steps=1, norm="linf")),
    Configuration("SMART K=1, without teacher", method("smart", steps=1, norm="linf", bregman=0.0)),
    Configuration("SMART K=1, every third step", method("smart", steps=1, norm="linf", every=3)),
    Configuration("noise consistency", PLAIN, consistency=CONSISTENT),
    Configuration("noise consistency, half of them", PLAIN, consistency=replace(CONSISTENT, probability=0.5)),
    Configuration("plain, batches in two parts", PLAIN, micro_batch=16),
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


def copies(ids: list[list[int]], probability: float, draws: np.random.Generator) -> list[list[int]]:
    """Copies with a tenth of the tokens replaced, for a share of the notes; empty for the others."""
    noised: list[list[int]] = []
    for row in ids:
        tokens = np.array(row)
        tokens = np.where(draws.random(len(row)) < 0.1, draws.integers(1000, 7000, len(row)), tokens)
        noised.append(tokens.tolist() if draws.random() < probability else [])
    return noised


def epoch_of(
    configuration: Configuration, ids: list[list[int]], y: np.ndarray
) -> Callable[[int], tuple[float, float]]:
    """A function that trains one epoch and returns its seconds, by the clock and of the processor; the argument seeds its
    batches."""
    encoder = build_model("tiny", [str(label) for label in range(LABELS)], max_length=128, seed=0)
    encoder.model.set_attn_implementation(configuration.attention)
    encoder.model.train()
    device = torch.device("cpu")
    precision: Precision = choose_precision(configuration.precision, device, encoder.parameters)
    generator = torch.Generator().manual_seed(0)
    optimiser = OptimiserSettings(learning_rate=1e-3)
    runner = TrainingStep(
        encoder.model,
        MultiLabelLoss(),
        optimiser,
        precision,
        generator,
        micro_batch=configuration.micro_batch,
    )
    schedule = AdversarialSchedule(configuration.adversarial, configuration.consistency)

    def batches(turn: int) -> list[Batch]:
        draws = np.random.default_rng(turn)
        if configuration.batching == "bucketed":
            plan = bucketed_batches([len(row) for row in ids], BATCH, draws)
        else:
            plan = shuffled_batches(len(ids), BATCH, draws)
        fixed = 128 if configuration.batching == "fixed" else None
        noised: list[list[int]] = [[] for _ in ids]
        if configuration.consistency.weight:
            noised = copies(ids, configuration.consistency.probability, draws)
        return [
            make_batch(
                [ids[i] for i in rows],
                y[rows],
                0,
                limit=128,
                length=fixed,
                noised=[noised[i] for i in rows],
            )
            for rows in plan
        ]

    def run(turn: int) -> tuple[float, float]:
        prepared = batches(turn)
        started, worked = time.perf_counter(), time.process_time()
        for step, batch in enumerate(prepared):
            runner.run(batch, schedule.at(step, step / len(prepared)), 1e-3)
        return time.perf_counter() - started, time.process_time() - worked

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=int, default=384)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--only", default="", help="rows whose names hold this, beside what they are compared with"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ids, y = notes(arguments.notes, np.random.default_rng(0))
    shown = [c for c in CONFIGURATIONS if arguments.only in c.name]
    needed = {c.name for c in shown} | {c.against for c in shown}
    runs = {c.name: epoch_of(c, ids, y) for c in CONFIGURATIONS if c.name in needed}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(arguments.turns + 1):  # the first turn warms up
        for name, run in runs.items():
            seconds[name].append(run(turn))
    steps = -(-arguments.notes // BATCH)
    parameters = build_model("tiny", [str(label) for label in range(LABELS)]).parameters
    chosen = choose_precision("auto", torch.device("cpu"), parameters).name
    print(f"tiny: {parameters:,} parameters, batches of {BATCH}, 1 thread, auto precision here: {chosen}")
    print(
        f"\n{'configuration':32} {'ms a step':>9}  {'ratio':>5}  (smallest – largest of {arguments.turns} turns)"
        f"  {'cpu':>5}  (the same)"
    )
    for configuration in shown:
        own, base = seconds[configuration.name][1:], seconds[configuration.against][1:]
        step = 1000 * statistics.median(clock for clock, _ in own) / steps
        print(
            f"{configuration.name:32} {step:9.1f}  {ratios(own, base, 0)}                    {ratios(own, base, 1)}"
        )


def ratios(own: list[tuple[float, float]], base: list[tuple[float, float]], which: int) -> str:
    """Median, smallest and largest of the turns' ratios of one of the two kinds of seconds."""
    found = [a[which] / b[which] for a, b in zip(own, base, strict=True)]
    return f"{statistics.median(found):5.2f}  ({min(found):.2f} – {max(found):.2f})"


if __name__ == "__main__":
    main()
