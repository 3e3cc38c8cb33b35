"""Background work that leaves the processor to training: a little work, then a long rest.

Where training computes on every core, a piece of other work stops all of them until it is done,
because they wait for each other. Spread out, as databases spread their checkpoints, it is hardly
felt; somebody who waits for the end gets it at full speed.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

REST: Final = 100.0
"""Seconds of rest for one of work: 1% of a core."""
LONGEST_REST: Final = 3.0
"""Seconds of rest in one piece of background work, so that durability waits no longer than that."""
_WORTH_A_REST: Final = 2e-4

_thread = threading.local()


class Pace:
    """As a context: what this thread does in it rests wherever it calls :func:`rest`."""

    def __init__(self) -> None:
        self._hurry = threading.Event()
        self._mark = 0.0
        self.rested = 0.0
        """Seconds, since :meth:`begin`."""

    def hurry(self) -> None:
        """No more rests until the work is done; from any thread."""
        self._hurry.set()

    def begin(self) -> None:
        """New work may rest again; before it is handed over."""
        self._hurry.clear()
        self.rested = 0.0

    def rest(self) -> None:
        """Rest for what has been done since the last rest."""
        worked = time.thread_time() - self._mark
        if worked < _WORTH_A_REST:
            return
        seconds = min(worked * REST, LONGEST_REST - self.rested)
        if seconds > 0 and not self._hurry.is_set():
            self.rested += seconds
            self._hurry.wait(seconds)
        self._mark = time.thread_time()

    def __enter__(self) -> None:
        self._mark = time.thread_time()
        _thread.pace = self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del _thread.pace


def rest() -> None:
    """Called between small pieces of work; does nothing on a thread that has no pace."""
    pace: Pace | None = getattr(_thread, "pace", None)
    if pace is not None:
        pace.rest()
