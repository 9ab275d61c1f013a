"""Losses by name."""

from __future__ import annotations

from collections.abc import Callable

from emr_fl_client.training.losses.asymmetric import Asymmetric
from emr_fl_client.training.losses.bce_focal import BceFocal
from emr_fl_client.training.losses.distribution_balanced import DistributionBalanced
from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.logit_adjusted import LogitAdjusted
from emr_fl_client.training.losses.settings import ElementwiseLoss, LossSettings
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr

_LOSSES: dict[str, Callable[[LossSettings, LabelFrequencies | None], ElementwiseLoss]] = {
    loss.name: loss for loss in (BceFocal, Asymmetric, DistributionBalanced, LogitAdjusted)
}


def known_losses() -> tuple[str, ...]:
    """The names that `build_loss` understands."""
    return tuple(_LOSSES)


def build_loss(settings: LossSettings, frequencies: LabelFrequencies | None) -> ElementwiseLoss:
    """The loss that `settings.kind` names.

    Raises:
        SettingsError: no such loss.
        ValueError: it needs frequencies and there are none, or a parameter is out of range.
    """
    if settings.kind not in _LOSSES:
        raise SettingsError(
            tr("unknown loss", "未知的损失函数"),
            where="training.loss.kind",
            got=settings.kind,
            expected=" | ".join(_LOSSES),
        )
    return _LOSSES[settings.kind](settings, frequencies)
