"""The only door out of a hospital."""

from emr_fl_client.egress.door import Door
from emr_fl_client.egress.switch import KillSwitch

__all__ = ["Door", "KillSwitch"]
