"""A site's notes and a small encoder for tests of training: random characters with signs in them."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import torch

from emr_fl_client.adversarial import AdversarialSettings
from emr_fl_client.training.loop import TrainingSettings
from emr_fl_client.training.step import OptimiserSettings
from emr_fl_shared.model.encoder import Encoder, build_model
from emr_fl_shared.model.tiny import TinyShape

SIGNS = ["咳嗽", "头晕", "腹痛", "皮疹"]
CHAPTERS = ["I", "I", "II", "II"]
FILL = "患者天前出现伴有不适无其他特殊来诊予以检查治疗明显好转"
SMALL = TinyShape(hidden=64, layers=1, heads=2, intermediate=64)
SETTINGS = TrainingSettings(batch_size=16, optimiser=OptimiserSettings(learning_rate=3e-3))
FREELB = replace(SETTINGS, adversarial=AdversarialSettings(method="freelb", top_loss=0.5))


def site(count: int = 160, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Notes of random characters with one or two signs in them; the label is the sign."""
    rng = random.Random(seed)
    texts, y = [], np.zeros((count, len(SIGNS)), dtype=np.bool_)
    for row in range(count):
        for label in rng.sample(range(len(SIGNS)), rng.choice([1, 1, 2])):
            y[row, label] = True
        words = [SIGNS[label] for label in np.flatnonzero(y[row])]
        words += ["".join(rng.choices(FILL, k=rng.randint(2, 8))) for _ in range(3)]
        rng.shuffle(words)
        texts.append("，".join(words))
    return texts, y


def encoder() -> Encoder:
    return build_model("tiny", SIGNS, max_length=40, seed=0, shape=SMALL)


def weights(of: Encoder) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in of.model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)
