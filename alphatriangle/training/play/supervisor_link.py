"""The trainer's end of the supervisor: its process, and a queue in each direction."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from alphatriangle.training.play.messages import Begin, Ended, receive, send
from alphatriangle.utils.processes import start_beside

# Importing Ray, starting it and letting workers begin, on a machine that is busy with other things.
_START_SECONDS: Final = 180.0
_JOIN_SECONDS: Final = 60.0
_SILENT_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 10.0
SUPERVISOR: Final = "alphatriangle.training.play.supervisor"


class SupervisorLink:
    """One process from its start to its end. Nothing here waits for it, but :meth:`close`."""

    def __init__(self, begin: Begin, log: Path, module: str = SUPERVISOR) -> None:
        """Start it; ``log`` takes what it and Ray say. ``module`` speaks as a supervisor does."""
        pipe = subprocess.PIPE
        with _opened(log) as output:
            self._process = start_beside(module, stdin=pipe, stdout=pipe, stderr=output)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._heard = time.monotonic()
        self._patience = _JOIN_SECONDS if begin.address else _START_SECONDS
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for work, stream in (
            (self._read, self._process.stdout),
            (self._write, self._process.stdin),
        ):
            threading.Thread(target=work, args=(stream,), name="supervisor", daemon=True).start()
        self.send(begin)

    @property
    def process_id(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    def send(self, message: NamedTuple) -> None:
        """Put a message on its way."""
        self._outbox.put(message)

    def receive(self, seconds: float) -> Any:
        """The next message, or None when none came within ``seconds``. The last is ``Ended()``.

        A supervisor that has been silent for too long is ended.
        """
        try:
            return self._inbox.get(timeout=seconds) if seconds > 0 else self._inbox.get_nowait()
        except queue.Empty:
            if time.monotonic() - self._heard > self._patience:
                self._process.kill()
            return None

    def exit_code(self) -> int:
        """Of the process, which has ended or is ended now."""
        self._process.kill()
        return self._process.wait()

    def close(self, *, wait: bool = True) -> None:
        """Let it end Ray, and end it when that takes too long.

        Without ``wait`` it is left alone with that: it ends with its input, as it would if this
        process had been killed.
        """
        self._outbox.put(None)
        if not wait:
            return
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while not isinstance(message := receive(stream), Ended):
                self._heard, self._patience = time.monotonic(), _SILENT_SECONDS
                self._inbox.put(message)
        self._inbox.put(message)

    def _write(self, stream: IO[bytes]) -> None:
        # A process that has ended takes nothing; who reads finds out.
        with contextlib.suppress(OSError), stream:
            while (message := self._outbox.get()) is not None:
                send(stream, message)


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError:
        # A disk that is full or read-only is not for Ray's log to complain of.
        return Path(os.devnull).open("ab")
