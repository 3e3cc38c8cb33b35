"""A thread that does one thing at a time, handed over for half of what an executor costs."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

Work = TypeVar("Work")
Done = TypeVar("Done")


class _Outcome(NamedTuple, Generic[Done]):
    result: Done | None
    error: BaseException | None


class Background(Generic[Work, Done]):
    """Calls ``function`` on a thread of its own; what was begun is finished even at exit."""

    def __init__(self, function: Callable[[Work], Done], name: str) -> None:
        self._function = function
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._outcomes: SimpleQueue[_Outcome[Done]] = SimpleQueue()
        self._busy = False
        # As a daemon it cannot keep the interpreter alive when nobody closes it.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def start(self, work: Work) -> None:
        """Begin; what came before must have been collected."""
        assert not self._busy
        self._busy = True
        self._work.put(work)

    def collect(self, *, wait: bool) -> Done | None:
        """The result of what was begun, when it is done or after waiting; its error is raised."""
        if not self._busy or not (wait or not self._outcomes.empty()):
            return None
        outcome = self._outcomes.get()
        self._busy = False
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def close(self) -> None:
        """End the thread after what it is doing."""
        atexit.unregister(self.close)
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._outcomes.put(_Outcome(self._function(work), None))
            except BaseException as e:  # noqa: BLE001  (it belongs to whoever collects)
                self._outcomes.put(_Outcome(None, e))
