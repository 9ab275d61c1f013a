"""The only door out of a hospital."""

from emr_fl_client.egress.door import Door, Receipt

__all__ = ["Door", "Receipt"]
