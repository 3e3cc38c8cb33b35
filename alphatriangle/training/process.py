"""What a training changes in the process it runs in, and puts back: logging, warnings, threads.

It may have been called from somebody's program.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import torch


class _LogFile(logging.FileHandler):
    """A log on a disk that may be full: losing a line of it must not end training."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """What failed is the log itself; there is nowhere else to say so but the display, which
        says what is wrong with the disk as soon as a save fails."""

    def close(self) -> None:
        """Close, and let go of what cannot be written."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def log_to(path: Path, level: str = "info") -> Iterator[None]:
    """Our messages from ``level`` on, and everybody's warnings (from ``debug`` on, all that
    anybody says), go to the run's log, not over the display."""
    handler = _LogFile(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("alphatriangle")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    showwarning = warnings.showwarning
    root.handlers = [handler]
    ours.setLevel(level.upper())
    root.setLevel(logging.DEBUG if level == "debug" else max(logging.WARNING, ours.level))
    warnings.showwarning = _log_warning
    try:
        yield
    finally:
        warnings.showwarning = showwarning
        root.handlers = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        handler.close()


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    logging.getLogger("py.warnings").warning("%s", text)


@contextlib.contextmanager
def threads_put_back() -> Iterator[None]:
    """Afterwards torch computes on as many threads as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
