"""Differential privacy: noise from a cryptographic stream, and what has been spent of a budget."""

from emr_fl_shared.privacy.accounting import AccountantName, Spent, epsilon_of, noise_for
from emr_fl_shared.privacy.noise import NoiseStream

__all__ = ["AccountantName", "NoiseStream", "Spent", "epsilon_of", "noise_for"]
