"""Which method a step is trained with: every n-th step, and K by phase of the training.

A published method runs on every step with one K. Between adversarial steps training is plain.
"""

from __future__ import annotations

from dataclasses import replace

from emr_fl_client.adversarial.consistency import ConsistencySettings, NoiseConsistency
from emr_fl_client.adversarial.method import AdversarialMethod, AdversarialSettings
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.adversarial.registry import build_method


class AdversarialSchedule:
    """One method over all its steps; what it remembers (SMART's teacher) goes on from phase to phase.

    Raises:
        SettingsError: no such method.
    """

    def __init__(self, settings: AdversarialSettings, consistency: ConsistencySettings | None = None) -> None:
        self.settings = settings
        self._plain: AdversarialMethod = Plain()
        self._method = build_method(settings)
        self._consistency = consistency or ConsistencySettings()

    @property
    def per_record(self) -> bool:
        """Whether a record's gradient depends on that record alone, so that clipping it bounds the record's influence."""
        return self._method.per_record

    def at(self, step: int, progress: float) -> AdversarialMethod:
        """The method of step `step` of the round (0, 1, …), at `progress` in [0, 1) of the whole training."""
        steps = self.settings.steps_at(progress)
        if step % self.settings.every or steps == 0:
            chosen = self._plain
        else:
            chosen = self._method
            if self.settings.phases:
                chosen.settings = replace(self.settings, steps=steps)
        return NoiseConsistency(chosen, self._consistency) if self._consistency.weight else chosen
