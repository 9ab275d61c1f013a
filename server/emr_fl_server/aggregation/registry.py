"""Which strategy a setting names."""

from __future__ import annotations

from emr_fl_server.aggregation.adaptive import Adaptive, Rule
from emr_fl_server.aggregation.fedavg import FedAvg
from emr_fl_server.aggregation.fedavgm import FedAvgM
from emr_fl_server.aggregation.scaffold import Scaffold
from emr_fl_server.aggregation.strategy import Strategy
from emr_fl_shared.config.settings import Aggregation

_RULES: dict[str, Rule] = {"fedadagrad": "adagrad", "fedadam": "adam", "fedyogi": "yogi"}


def build_strategy(settings: Aggregation, *, participation: float = 1.0) -> Strategy:
    """The strategy of resolved settings; `participation`: the share of all sites whose updates the round has."""
    if settings.strategy == "fedavgm":
        return FedAvgM(settings.fedavgm.learning_rate, settings.fedavgm.momentum)
    if settings.strategy == "scaffold":
        return Scaffold(settings.scaffold.learning_rate, participation)
    if settings.strategy in {"fedavg", "fedprox"}:
        return FedAvg()
    adaptive = settings.adaptive
    beta1 = adaptive.beta1
    assert beta1 is not None
    return Adaptive(_RULES[settings.strategy], adaptive.learning_rate, beta1, adaptive.beta2, adaptive.tau)
