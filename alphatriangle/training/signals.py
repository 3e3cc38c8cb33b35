"""Stop when asked: the first SIGTERM or Ctrl-C asks, a second Ctrl-C insists."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked to stop, and with what."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within it, the first signal sets the request; a second Ctrl-C ends the process at once.

    Nothing committed can be lost by that: a save becomes real in one rename.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            sys.stderr.write("\nstopped at once; what was committed is safe\n")
            sys.stderr.flush()
            os._exit(130)
        request.signal_name = signal.Signals(number).name

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
