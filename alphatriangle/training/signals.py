"""Stop when asked: the first SIGTERM or Ctrl-C asks, a second Ctrl-C insists."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked to stop, and with what."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None

    def arm(self) -> None:
        """Listen. Libraries that install handlers of their own (Ray does, in C) make it deaf:
        call it again after they have started."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self and number == signal.SIGINT:
            sys.stderr.write("\nstopped at once; what was committed is safe\n")
            sys.stderr.flush()
            os._exit(130)
        self.signal_name = signal.Signals(number).name


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within it, the first signal sets the request; a second Ctrl-C ends the process at once.

    Nothing committed can be lost by that: a save becomes real in one rename.
    """
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    request.arm()
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
