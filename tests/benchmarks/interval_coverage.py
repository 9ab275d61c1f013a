"""How often the 95 % intervals hold the true value: a long tail of 50 labels, 1,000 resamples, several sizes.

A fixed classifier with its own precision and recall for each label; records are drawn anew in every trial, so that the macro-F1
of the population is known. `python tests/benchmarks/interval_coverage.py --trials 500 --sizes 500 2000 10000`
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from emr_fl_shared.metrics import Counts, resample_counts
from emr_fl_shared.metrics.bootstrap import F1_MEANS, RESAMPLES

LABELS_A_RECORD = 1.5


class Population:
    """Labels with Zipf frequencies and a classifier of fixed quality; `visits` records of a patient share labels and errors."""

    def __init__(self, labels: int, visits: int) -> None:
        quality = np.random.default_rng(11)
        ranks = np.arange(1, labels + 1)
        self.share = LABELS_A_RECORD / ranks / (1 / ranks).sum()
        self.recall, precision = np.clip(quality.normal(0.68, 0.15, (2, labels)), 0.2, 0.95)
        self.false_rate = self.share * self.recall * (1 - precision) / precision / (1 - self.share)
        self.visits = visits

    def truth(self) -> dict[str, float]:
        """The scores that an endless set would give."""
        tp, fn = self.share * self.recall, self.share * (1 - self.recall)
        fp = (1 - self.share) * self.false_rate
        return {name: float(mean(Counts(tp, fp, fn))) for name, mean in F1_MEANS.items()}

    def draw(
        self, generator: np.random.Generator, n: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[int]]:
        """Truth, decisions [n, K] and the patient of each record."""
        patients = -(-n // self.visits)
        y = generator.random((patients, len(self.share))) < self.share
        decided = generator.random(y.shape) < np.where(y, self.recall, self.false_rate)
        whose = np.repeat(np.arange(patients), self.visits)[:n]
        return y[whose], decided[whose], whose.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000, 10_000])
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--visits", type=int, default=1, help="records a patient, all alike")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    population = Population(options.labels, options.visits)
    true = population.truth()
    normal = NormalDist()

    def statistics(parts: list[Counts]) -> NDArray[np.float64]:
        return np.stack([mean(parts[0]) for mean in F1_MEANS.values()], axis=-1)

    print(f"{options.labels} labels, {options.visits} record(s) a patient, {options.resamples} resamples")
    print("| n | trials | measure | percentile | bias-corrected | BCa | mean width |")
    print("|---|---|---|---|---|---|---|")
    for n in options.sizes:
        generator, began = np.random.default_rng(options.seed), time.monotonic()
        inside = {name: np.zeros(3) for name in F1_MEANS}
        widths = dict.fromkeys(F1_MEANS, 0.0)
        for trial in range(options.trials):
            y, decided, patients = population.draw(generator, n)
            found = resample_counts(
                [(y, decided)], statistics, seed=trial, patients=patients, resamples=options.resamples
            )
            for index, name in enumerate(F1_MEANS):
                drawn, estimate = found.drawn[:, index], found.estimate[index]
                below = (
                    np.count_nonzero(drawn < estimate) + 0.5 * np.count_nonzero(drawn == estimate)
                ) / len(drawn)
                bias = normal.inv_cdf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
                shares = [normal.cdf(2 * bias - 1.96), normal.cdf(2 * bias + 1.96)]
                interval = found.interval(index)
                ends = [
                    np.quantile(drawn, [0.025, 0.975]),
                    np.quantile(drawn, shares),
                    (interval.low, interval.high),
                ]
                inside[name] += [low <= true[name] <= high for low, high in ends]
                widths[name] += interval.high - interval.low
        for name, counted in inside.items():
            cells = []
            for count in counted:
                rate = count / options.trials
                cells.append(f"{rate:.3f} ± {math.sqrt(rate * (1 - rate) / options.trials):.3f}")
            print(
                f"| {n} | {options.trials} | {name} | {' | '.join(cells)} | {widths[name] / options.trials:.3f} |"
            )
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
