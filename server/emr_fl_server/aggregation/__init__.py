"""From updates to the next global model: checked, spooled to disk, folded tensor by tensor."""

from emr_fl_server.aggregation.checks import (
    NORM_FACTOR,
    NormReport,
    check_tensors,
    check_update,
    compare_norms,
)
from emr_fl_server.aggregation.mean import RowMasks, apply_mean, weighted_mean
from emr_fl_server.aggregation.spool import Spool, SpooledUpdate

__all__ = [
    "NORM_FACTOR",
    "NormReport",
    "RowMasks",
    "Spool",
    "SpooledUpdate",
    "apply_mean",
    "check_tensors",
    "check_update",
    "compare_norms",
    "weighted_mean",
]
