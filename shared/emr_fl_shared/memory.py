"""Resident memory of this process: measure it, give back what is free."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys


def peak_rss_mb() -> float:
    """Highest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def release_free_memory() -> None:
    """Hand freed memory back to the operating system.

    Training allocates tensors of many sizes; glibc keeps the holes, hundreds of MB for a site that then waits for minutes.
    Does nothing where there is no glibc.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
