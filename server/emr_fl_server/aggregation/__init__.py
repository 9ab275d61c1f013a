"""From updates to the next global model: checked, spooled to disk, folded tensor by tensor."""

from emr_fl_server.aggregation.checks import (
    NORM_FACTOR,
    NormReport,
    check_tensors,
    check_update,
    compare_norms,
)
from emr_fl_server.aggregation.ema import AVERAGE, moving_average
from emr_fl_server.aggregation.masked import MaskedMeans, MaskedSum
from emr_fl_server.aggregation.mean import Means, RowMasks
from emr_fl_server.aggregation.opening import Opening
from emr_fl_server.aggregation.registry import build_strategy
from emr_fl_server.aggregation.spool import Spool, SpooledUpdate
from emr_fl_server.aggregation.strategy import Kept, Strategy, advance, advance_by, start

__all__ = [
    "AVERAGE",
    "NORM_FACTOR",
    "Kept",
    "MaskedMeans",
    "MaskedSum",
    "Means",
    "NormReport",
    "Opening",
    "RowMasks",
    "Spool",
    "SpooledUpdate",
    "Strategy",
    "advance",
    "advance_by",
    "build_strategy",
    "check_tensors",
    "check_update",
    "compare_norms",
    "moving_average",
    "start",
]
