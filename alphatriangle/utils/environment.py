"""What libraries read from the environment, set before they are imported.

numba's own cache looks only at the file a kernel stands in, so a change in a table or a helper of
another module would leave stale machine code in use. Naming the folder after the content of all
kernel sources makes that impossible.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

_PACKAGE = Path(__file__).parent.parent
# mallopt's numbers in <malloc.h>, and the largest values it takes.
_M_TRIM_THRESHOLD: Final = (-1, 2**31 - 1)
_M_MMAP_THRESHOLD: Final = (-3, 32 << 20)
_KERNEL_SOURCES = ("game", "features", "search", "utils", "rl")


def sources_digest() -> str:
    """A short digest over every module that may hold a kernel or a table that one uses."""
    digest = hashlib.sha256()
    for folder in _KERNEL_SOURCES:
        for path in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def prepare_environment() -> None:
    """Set what the person has not set. It must run before numba, torch and MLflow are imported."""
    # Threads that spin at a barrier make two of them on one free core far slower than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Arrow's own pool takes memory by tens of megabytes where saving needs two.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if "NUMBA_CACHE_DIR" not in os.environ:
        os.environ["NUMBA_CACHE_DIR"] = str(_versioned_cache())


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


def _versioned_cache() -> Path:
    """A folder for the kernels of exactly these sources."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "alphatriangle" / f"numba-{sources_digest()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"alphatriangle-numba-{os.getuid()}"
    return folder
