"""Central differential privacy: the mean of clipped updates with noise that the server draws.

McMahan, Ramage, Talwar, Zhang, *Learning Differentially Private Recurrent Language Models*, ICLR 2018, Algorithm 1 (flat clipping), with a
site in the place of a user:

    w_{t+1} = w_t + (1/m) Σ_k Δ^k · min(1, S / ‖Δ^k‖₂) + N(0, (σS/m)² I)

    S → `clipping_norm`    σ → `noise_multiplier`    m → the updates of the round, all of the same weight

Deviations: all sites take part in every round, so there is no amplification by sampling (q = 1), and m is what was accepted, not an
expectation: who took part is public, what is protected is what a site's records changed. Comparing norms between sites is left out:
a site would change whether another one counts, and the clip does its work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from emr_fl_server.aggregation.mean import Means
from emr_fl_server.aggregation.spool import SpooledUpdate
from emr_fl_shared.payload import Float32
from emr_fl_shared.privacy import NoiseStream

_SLACK = 1e-6
"""Float32 rounding must not carry a clipped update over the bound."""


@dataclass(frozen=True)
class CentralNoise:
    """What one round's mean is made with. A stream serves one round."""

    clipping_norm: float
    noise_multiplier: float
    stream: NoiseStream = field(default_factory=NoiseStream, repr=False)


class NoisyMeans(Means):
    """`Means` of clipped updates, evenly weighted, with noise. Each tensor is to be asked for once: two draws say more than one."""

    def __init__(self, updates: Sequence[SpooledUpdate], noise: CentralNoise) -> None:
        super().__init__(updates)
        self._noise = noise
        self._deviation = noise.noise_multiplier * noise.clipping_norm / len(updates)
        self._shares = {
            update.site: min(1.0, noise.clipping_norm / max(update.norm * (1.0 + _SLACK), 1e-30))
            / len(updates)
            for update in updates
        }

    def of(self, name: str) -> Float32:
        """The noisy mean of one tensor, a fresh fp32 array."""
        mean = super().of(name)
        mean += self._noise.stream.normal(mean.shape, self._deviation)
        return mean
