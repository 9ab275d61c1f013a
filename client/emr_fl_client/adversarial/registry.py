"""Methods by name."""

from __future__ import annotations

from collections.abc import Callable

from emr_fl_client.adversarial.fgsm import FGSM
from emr_fl_client.adversarial.freelb import FreeLB
from emr_fl_client.adversarial.method import AdversarialMethod, AdversarialSettings
from emr_fl_client.adversarial.pgd import PGD
from emr_fl_client.adversarial.plain import Plain
from emr_fl_client.adversarial.smart import SMART
from emr_fl_client.adversarial.vat import VAT
from emr_fl_shared.errors import SettingsError
from emr_fl_shared.messages import tr

_METHODS: dict[str, Callable[[AdversarialSettings], AdversarialMethod]] = {
    Plain.name: Plain,
    FGSM.name: FGSM,
    PGD.name: PGD,
    FreeLB.name: FreeLB,
    VAT.name: VAT,
    SMART.name: SMART,
}


def known_methods() -> tuple[str, ...]:
    """The names that `build_method` understands."""
    return tuple(_METHODS)


def build_method(settings: AdversarialSettings) -> AdversarialMethod:
    """The method that `settings.method` names.

    Raises:
        SettingsError: no such method.
    """
    if settings.method not in _METHODS:
        raise SettingsError(
            tr("unknown method", "未知的对抗训练方法"),
            where="training.adversarial.method",
            got=settings.method,
            expected=" | ".join(_METHODS),
        )
    return _METHODS[settings.method](settings)
