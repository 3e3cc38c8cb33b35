"""What the machine has left."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resident_bytes() -> int | None:
    """Memory of this process; None where the system does not say (it is Linux that does)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def machine_line(folder: Path) -> str:
    """Memory of this process, and what is free where ``folder`` is."""
    parts = []
    if (memory := resident_bytes()) is not None:
        parts.append(f"{memory / 1e6:,.0f} MB of memory")
    with contextlib.suppress(OSError):
        parts.append(f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB of disk free")
    return ", ".join(parts)
