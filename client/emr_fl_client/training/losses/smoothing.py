"""Label smoothing: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016, §7.

    q' = (1 − ε)·q + ε·u        q → `targets`, ε → `epsilon`, u = 1/2

Deviation: the paper smooths one distribution over K classes with u = 1/K. Here every label is a distribution of its own over
{no, yes}, whose uniform one is 1/2: targets lie in [ε/2, 1 − ε/2]. Soft targets are smoothed alike.
"""

from __future__ import annotations

from torch import Tensor


def smooth(targets: Tensor, epsilon: float) -> Tensor:
    """Targets moved towards 1/2 by the share ε in [0, 1), same shape."""
    return targets * (1.0 - epsilon) + 0.5 * epsilon
