"""Adversarial training on word embeddings: one method a file, one paper each."""

from emr_fl_client.adversarial.consistency import ConsistencySettings
from emr_fl_client.adversarial.method import AdversarialMethod, AdversarialSettings, StepContext
from emr_fl_client.adversarial.registry import build_method, known_methods
from emr_fl_client.adversarial.schedule import AdversarialSchedule

__all__ = [
    "AdversarialMethod",
    "AdversarialSchedule",
    "AdversarialSettings",
    "ConsistencySettings",
    "StepContext",
    "build_method",
    "known_methods",
]
