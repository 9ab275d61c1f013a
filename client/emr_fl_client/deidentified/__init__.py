"""`emr-fl data deidentify`: a cleaned copy of an export, what was removed, and whether that is enough."""

from __future__ import annotations

from emr_fl_client.deidentified.copying import Request, deidentify_file

__all__ = ["Request", "deidentify_file"]
