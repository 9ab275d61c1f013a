"""Settings that a bound on one unit's influence does not go with: each is refused, none is quietly changed.

Why, setting by setting, is in docs/privacy.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emr_fl_shared.errors import EmrFlError
from emr_fl_shared.messages import tr

if TYPE_CHECKING:
    from emr_fl_shared.config.settings import Settings, Training

VERIFIED_METHODS = ("none", "freelb")
"""Adversarial methods whose gradient of each record was compared with a loop over records."""
VERIFIED_LOSSES = ("bce_focal", "asymmetric")
"""Losses that are made from nothing of the site's other records."""


@dataclass(frozen=True)
class Conflict:
    """`place`: the setting, dotted; `got`: its value as TOML has it; `expected`: what it has to be; `switch`: what refuses it."""

    place: str
    got: str
    expected: str
    why: str
    switch: str = "privacy.dp.enabled"

    def problem(self, where: str = "") -> EmrFlError:
        """As an error; `where` in the place of the dotted setting."""
        wanted = f"{self.place} = {self.expected.partition(' | ')[0]}"
        return EmrFlError(
            self.why,
            where=where or self.place,
            got=self.got,
            expected=self.expected,
            do=tr(f"set {wanted}, or {self.switch} = false", f"请设 {wanted}，或设 {self.switch} = false"),
        )


def training_conflicts(training: Training) -> list[Conflict]:
    """What of `[training]` lets a record change more than its own clipped gradient."""
    others = tr(
        "under differential privacy a record's gradient must not depend on other records",
        "差分隐私下，一条记录的梯度不能依赖其他记录",
    )
    counted = tr(
        "under differential privacy nothing may follow from the labels of the site's other records",
        "差分隐私下，不能使用本机构其他记录的标签统计",
    )
    unverified = tr(
        "not verified under differential privacy: its gradient of each record was not compared with a loop over records",
        "未在差分隐私下验证：其逐条梯度未与逐条循环核对",
    )
    found = []
    values = {"training.mixup.probability": ("0.0", training.mixup.probability)}
    values["training.adversarial.top_loss"] = ("1.0", training.adversarial.top_loss)
    for place in training.couples_records():
        expected, got = values[place]
        found.append(Conflict(place, str(got), expected, others))
    if training.consistency.weight > 0.0:
        found.append(
            Conflict("training.consistency.weight", str(training.consistency.weight), "0.0", unverified)
        )
    if training.adversarial.method not in VERIFIED_METHODS:
        found.append(
            Conflict(
                "training.adversarial.method",
                _quoted(training.adversarial.method),
                _one_of(VERIFIED_METHODS),
                unverified,
            )
        )
    if training.balance > 0.0:
        found.append(Conflict("training.balance", str(training.balance), "0.0", counted))
    if training.balance_by != "site":
        found.append(Conflict("training.balance_by", _quoted(training.balance_by), '"site"', counted))
    if training.mask_absent_labels:
        found.append(Conflict("training.mask_absent_labels", "true", "false", counted))
    if training.loss.kind not in VERIFIED_LOSSES:
        found.append(
            Conflict("training.loss.kind", _quoted(training.loss.kind), _one_of(VERIFIED_LOSSES), counted)
        )
    elif training.loss.kind == "bce_focal" and training.loss.alpha == "balanced":
        found.append(Conflict("training.loss.alpha", '"balanced"', "0.5", counted))
    if training.precision not in ("auto", "fp32"):
        found.append(
            Conflict(
                "training.precision",
                _quoted(training.precision),
                '"fp32" | "auto"',
                tr(
                    "under differential privacy norms are taken and clipped in fp32",
                    "差分隐私下，范数的计算与裁剪使用 fp32",
                ),
            )
        )
    return found


def privacy_conflicts(settings: Settings) -> list[Conflict]:
    """What of all settings does not go with `[privacy]` as it stands; nothing where both parts are off."""
    found: list[Conflict] = []
    aggregation = settings.aggregation
    if settings.privacy.dp.enabled:
        found += training_conflicts(settings.training)
        unaccounted = tr(
            "under differential privacy nothing leaves a site that its budget does not count",
            "差分隐私下，未计入预算的内容不得离开机构",
        )
        if settings.labels.taxonomy == "column":
            found.append(Conflict("labels.taxonomy", '"column"', '"outpatient-50"', unaccounted))
        if aggregation.strategy == "scaffold":
            found.append(Conflict("aggregation.strategy", '"scaffold"', '"fedavg"', unaccounted))
        if aggregation.weighting == "effective_labels":
            found.append(
                Conflict("aggregation.weighting", '"effective_labels"', '"examples" | "even"', unaccounted)
            )
    if settings.privacy.central.enabled:
        bound = tr(
            "noise on the mean needs a share of each site that no other site changes",
            "在均值上加噪要求每家机构的份额不受其他机构影响",
        )
        for place, got, expected in (
            ("aggregation.weighting", aggregation.weighting, "even"),
            ("aggregation.label_rows", aggregation.label_rows, "all"),
        ):
            if got != expected:
                found.append(
                    Conflict(place, _quoted(got), _quoted(expected), bound, "privacy.central.enabled")
                )
        if aggregation.strategy == "scaffold" and not settings.privacy.dp.enabled:
            found.append(
                Conflict("aggregation.strategy", '"scaffold"', '"fedavg"', bound, "privacy.central.enabled")
            )
    return found


def _quoted(text: str) -> str:
    return f'"{text}"'


def _one_of(names: tuple[str, ...]) -> str:
    return " | ".join(_quoted(name) for name in names)
