"""Training losses over K independent sigmoids: one loss a file, one paper each; `[training.loss] kind` chooses."""

from emr_fl_client.training.losses.focal import focal_with_logits
from emr_fl_client.training.losses.frequencies import LabelFrequencies
from emr_fl_client.training.losses.multi_label import MultiLabelLoss
from emr_fl_client.training.losses.registry import known_losses
from emr_fl_client.training.losses.settings import LossSettings

__all__ = ["LabelFrequencies", "LossSettings", "MultiLabelLoss", "focal_with_logits", "known_losses"]
