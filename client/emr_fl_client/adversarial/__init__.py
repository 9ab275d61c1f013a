"""Adversarial training on word embeddings: one method a file, one paper each."""

from emr_fl_client.adversarial.method import AdversarialMethod, AdversarialSettings, StepContext
from emr_fl_client.adversarial.registry import build_method, known_methods

__all__ = ["AdversarialMethod", "AdversarialSettings", "StepContext", "build_method", "known_methods"]
