"""Settings for a training that only has to happen."""

from __future__ import annotations

from emr_fl_shared.config.settings import Training

QUICK_TRAINING = Training.model_validate(
    {
        "epochs": 1,
        "learning_rate": 2e-3,
        "batch_size": 16,
        "augmentation": {"enabled": False},
        "adversarial": {"method": "none"},
        "precision": "fp32",
    }
)
