"""What the server's noise has spent in this run: a count of noisy means, on disk before each is drawn.

A mean that was drawn and lost in a crash counts, too. The budget is of one run folder, and its unit is a site.
"""

from __future__ import annotations

import json
from pathlib import Path

from emr_fl_server.aggregation.central import CentralNoise
from emr_fl_shared.config.settings import CentralPrivacy
from emr_fl_shared.durable import storage_error, write_durably
from emr_fl_shared.errors import BudgetSpent, FederationError, PolicyError
from emr_fl_shared.messages import tr
from emr_fl_shared.privacy import AccountantName, Spent, epsilon_of, noise_for

FILE = "privacy-central.json"
UNIT = "site"
ACCOUNTANT: AccountantName = "rdp"


class CentralBudget:
    """The budget of the run in `folder`, planned for so many rounds."""

    def __init__(self, folder: Path, settings: CentralPrivacy, rounds: int) -> None:
        self._path = folder / FILE
        self._settings = settings
        self._rounds = rounds

    def spend(self) -> CentralNoise:
        """Count one more noisy mean, durably, and say with what noise. Raises `BudgetSpent`, `PolicyError` (damaged), `StorageError`."""
        settings = self._settings
        noise, means = self._read()
        if noise is None:
            noise = noise_for(
                settings.target_epsilon, settings.delta, Spent(0.0, 1.0, self._rounds), ACCOUNTANT
            )
        if noise is None:
            raise FederationError(
                tr("no noise is enough for this budget", "任何噪声都不足以满足该预算"),
                where="privacy.central.target_epsilon",
                got=f"{settings.target_epsilon:g}",
            )
        spent = self._epsilon(noise, means + 1)
        if not spent <= settings.target_epsilon:
            raise BudgetSpent(
                tr("the privacy budget of the run is spent", "本次运行的隐私预算已用完"),
                where="privacy.central.target_epsilon",
                got=f"ε = {spent:.4g}",
                expected=f"<= {settings.target_epsilon:g}",
            )
        write_durably(self._path, [json.dumps({"noise_multiplier": noise, "means": means + 1}).encode()])
        return CentralNoise(settings.clipping_norm, noise)

    def epsilon(self) -> float:
        """ε spent so far. Raises as `spend` does for a file that can't be read."""
        noise, means = self._read()
        return 0.0 if noise is None else self._epsilon(noise, means)

    def _epsilon(self, noise: float, means: int) -> float:
        return epsilon_of([Spent(noise, 1.0, means)], self._settings.delta, ACCOUNTANT)

    def _read(self) -> tuple[float | None, int]:
        try:
            found = json.loads(self._path.read_bytes())
            return float(found["noise_multiplier"]), int(found["means"])
        except FileNotFoundError:
            return None, 0
        except OSError as error:
            raise storage_error(error, self._path) from error
        except (ValueError, KeyError, TypeError):
            raise PolicyError(
                tr("the count of what was spent is damaged", "隐私消耗计数已损坏"),
                where=str(self._path),
                do=tr("restore it from a backup", "请从备份恢复"),
            ) from None
