"""Settings that a bound on one unit's influence does not go with: each is refused, none is quietly changed.

Why, setting by setting, is in docs/privacy.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from emr_fl_shared.config.settings import Settings, Training

VERIFIED_METHODS = ("none", "freelb")
"""Adversarial methods whose gradient per record was compared with a loop over records."""
VERIFIED_LOSSES = ("bce_focal", "asymmetric")
"""Losses that know nothing of the site's other records."""


@dataclass(frozen=True)
class Conflict:
    """`place`: the setting, dotted; `got`: its value; `expected`: what it has to be."""

    place: str
    got: Any
    expected: str
    why: str

    def problem(self, where: str = "") -> EmrFlError:
        """As an error that can be listed with others."""
        return EmrFlError(
            self.why,
            where=where or self.place,
            got=_shown(self.got),
            expected=self.expected,
            do=tr(
                f"set {self.place} = {self.expected.partition(' | ')[0]}, or privacy.dp.enabled = false",
                f"请设 {self.place} = {self.expected.partition(' | ')[0]}，或设 privacy.dp.enabled = false",
            )
            if not self.place.startswith("aggregation.") or "central" not in self.why
            else "",
        )


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
