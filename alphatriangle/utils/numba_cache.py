"""Where compiled kernels are cached: a folder per version of their sources.

numba's own cache looks only at the file a kernel stands in, so a change in a table or a helper of
another module would leave stale machine code in use. Naming the folder after the content of all
kernel sources makes that impossible.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_KERNEL_SOURCES = ("game", "features", "search", "utils", "rl")


def sources_digest() -> str:
    """A short digest over every module that may hold a kernel or a table that one uses."""
    digest = hashlib.sha256()
    for folder in _KERNEL_SOURCES:
        for path in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def use_versioned_cache() -> None:
    """Point numba at the folder of these sources, unless NUMBA_CACHE_DIR says otherwise.

    It must run before numba is imported.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "alphatriangle" / f"numba-{sources_digest()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"alphatriangle-numba-{os.getuid()}"
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
