"""Stop when asked: by a signal, or from another thread; a second Ctrl-C insists."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

# A closed terminal is no other wish than SIGTERM.
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_STUCK_SECONDS: Final = 1.0
"""How long the main thread may be in C code with nothing to lose after a signal."""
_WAKE_SECONDS: Final = 0.1
GOES_ON: Final = "nothing is lost, the same command goes on"


class StopRequested(BaseException):
    """Somebody asked to stop while there was nothing to lose."""


class StopRequest:
    """Whether somebody asked to stop, and with what.

    Training looks at it between two steps. Where nothing can be lost (:meth:`at_once`), a signal
    ends what is being done, by :class:`StopRequested`.
    """

    def __init__(self, event: threading.Event | None = None) -> None:
        """``event``, when it is set, asks too, from whatever thread."""
        self.signal_name: str | None = None
        self._event = event
        self._at_once = 0
        self._imports = False

    def __bool__(self) -> bool:
        return self.stopped_by is not None

    @property
    def stopped_by(self) -> str | None:
        """What asked: the name of a signal, or ``request``."""
        if self.signal_name is None and self._event is not None and self._event.is_set():
            return "request"
        return self.signal_name

    @property
    def may_leave(self) -> bool:
        """Whether there is nothing to lose now."""
        return self._at_once > 0

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it there is nothing to lose: a request to stop ends it.

        Raises:
            StopRequested: somebody asked, before it, within it, or until its end.
        """
        self.check()
        self._at_once += 1
        try:
            yield
        except Exception as e:
            # What a compiler says, for instance, whose call back was ended by the request.
            if self:
                raise StopRequested from e
            raise
        finally:
            self._at_once -= 1
        self.check()

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Within it there is nothing to lose and nothing to put away: a signal ends the process.

        An exception in the middle of its import ends a library of C++ with an abort.

        Raises:
            StopRequested: somebody asked before.
        """
        self.check()
        self._imports = True
        try:
            yield
        finally:
            self._imports = False

    def check(self) -> None:
        """For what takes long and has nothing to lose.

        Raises:
            StopRequested: somebody asked.
        """
        if self:
            raise StopRequested

    def arm(self) -> dict[signal.Signals, Any]:
        """Listen; returns the handlers that were there before.

        A hang-up that is ignored, as under ``nohup``, stays ignored.
        """
        previous = {}
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if number.name == "SIGHUP" and before is signal.SIG_IGN:
                continue
            previous[number] = before
            signal.signal(number, self._handle)
        return previous

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is not None and number == signal.SIGINT:
            _leave("stopped at once; what was committed is safe", 130)
        self.signal_name = signal.Signals(number).name
        if self._imports:
            _leave(f"stopped by {self.signal_name}; {GOES_ON}", 0)
        if self.may_leave:
            raise StopRequested


@contextmanager
def stop_on_signals(
    event: threading.Event | None = None, *, own_process: bool = False
) -> Iterator[StopRequest]:
    """Within it, the first signal sets the request; a second Ctrl-C ends the process at once.

    Nothing committed can be lost by that: a save becomes real in one rename. In a thread that is
    not the main one, which no signal reaches, only ``event`` asks. With ``own_process`` the
    process is ended when it has nothing to lose and does not hear the signal, in a compiler for
    instance.
    """
    request = StopRequest(event)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    with contextlib.ExitStack() as armed:
        armed.enter_context(_quiet_where_it_cannot_be_raised())
        if os.name == "posix":
            armed.enter_context(_watched(request, may_end_it=own_process))
        for number, handler in request.arm().items():
            # None: it was not installed from Python, and cannot be from there.
            armed.callback(signal.signal, number, signal.SIG_DFL if handler is None else handler)
        yield request


@contextmanager
def _quiet_where_it_cannot_be_raised() -> Iterator[None]:
    """A signal may come while C code is called back, which drops what is raised and says so at
    length; the request stays, and is looked at again."""
    before = sys.unraisablehook

    def hook(what: Any) -> None:
        if not isinstance(what.exc_value, StopRequested):
            before(what)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def _watched(request: StopRequest, *, may_end_it: bool) -> Iterator[None]:
    """Python's handlers run in the main thread, which a signal does not wake when the system gives
    it to another thread, and which C code may keep; this thread wakes it, or ends the process.

    Where somebody else is woken by signals, an event loop, it stays with that.
    """
    before = signal.set_wakeup_fd(-1)
    is_free = signal.getsignal(signal.SIGURG) in (signal.SIG_DFL, signal.SIG_IGN)
    if not may_end_it and (before != -1 or not is_free):
        signal.set_wakeup_fd(before)
        yield
        return
    heard, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    over = threading.Event()
    wanted = {int(number) for number in _SIGNALS}
    main = threading.main_thread().ident
    assert main is not None
    if is_free:
        # A signal of which nobody takes notice ends a wait all the same, when Python handles it.
        signal.signal(signal.SIGURG, lambda number, frame: None)

    def watch() -> None:
        while not over.is_set():
            # The zero byte of the end is no signal.
            if not wanted.intersection(os.read(heard, 64)):
                continue
            # Again and again: it may be on its way into the wait.
            for _ in range(round(_STUCK_SECONDS / _WAKE_SECONDS)):
                if is_free:
                    signal.pthread_kill(main, signal.SIGURG)
                if over.wait(_WAKE_SECONDS):
                    return
            if may_end_it and request.may_leave:
                _leave(f"stopped; {GOES_ON}", 0)

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.write(wakes, b"\0")
        thread.join()
        if is_free:
            signal.signal(signal.SIGURG, signal.SIG_DFL)
        os.close(heard)
        os.close(wakes)


def _leave(words: str, code: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live view hides the cursor
        sys.stderr.write(f"{shown}\n{words}\n")
        sys.stderr.flush()
    os._exit(code)
