"""What libraries read from the environment, set before they are imported."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

# mallopt's numbers in <malloc.h>, and the largest values it takes.
_M_TRIM_THRESHOLD: Final = (-1, 2**31 - 1)
_M_MMAP_THRESHOLD: Final = (-3, 32 << 20)


def prepare_environment() -> None:
    """Set what the person has not set. It must run before numba, torch and MLflow are imported."""
    # Threads that spin at a barrier make two of them on one free core far slower than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Arrow's own pool takes memory by tens of megabytes where saving needs two.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Its retries would draw from the global generator, whose states belong to training.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


def keep_freed_memory() -> None:
    """Let this process keep memory that it has freed, where the C library is glibc.

    A training step allocates the same tens of megabytes every time. Given back to the kernel in
    between, they cost a page fault per 4 KiB: measured, a tenth of a training step. For processes
    that train or play all day; the person's own MALLOC_ settings come first.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(*_M_MMAP_THRESHOLD)
        mallopt(*_M_TRIM_THRESHOLD)
