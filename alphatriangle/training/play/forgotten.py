"""A worker whose node is cut off for good is an orphan: nobody can end it but itself."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

FORGOTTEN_SECONDS: Final = 300.0
"""Longer than any cut after which a node is still the same (docs/cluster.md)."""
GREETING_SECONDS: Final = 60.0
"""Whoever has nothing to do is called so often, to know that it is not forgotten."""
_EXIT_CODE: Final = 3


class EndsWhenForgotten:
    """Ends the process when nobody has called it for too long; a call itself may take any time."""

    def __init__(self, seconds: float = FORGOTTEN_SECONDS) -> None:
        self._seconds = seconds
        self._heard = time.monotonic()
        self._calls = 0
        threading.Thread(target=self._watch, name="forgotten", daemon=True).start()

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Within it somebody has called."""
        self._calls += 1
        try:
            yield
        finally:
            self._heard = time.monotonic()
            self._calls -= 1

    def _watch(self) -> None:
        while self._calls or time.monotonic() - self._heard < self._seconds:
            time.sleep(self._seconds / 20)
        os._exit(_EXIT_CODE)
