"""Processes of our own beside this one: modules of this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Final

_HERE: Final = str(Path(__file__).resolve().parent.parent.parent)
"""Where the package lies."""


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module. Not from the folder where this process was started: whatever
    its files are called, they are no modules."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """For :func:`python`: with this very package, wherever it lies."""
    path = [_HERE, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def start_beside(
    module: str,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[Any] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Run a module in a process and a session of its own: Ctrl-C reaches every process of the
    terminal's session, and this one is ended by whoever started it.

    Raises:
        OSError: the system lets nobody start.
    """
    return subprocess.Popen(
        python(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(),
        start_new_session=True,
    )
