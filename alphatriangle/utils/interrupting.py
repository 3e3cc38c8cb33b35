"""Work of other threads that Ctrl-C does not wait for: requests that hang end at a deadline of
their own, later; games end in the middle."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

Result = TypeVar("Result")

_LOOK_SECONDS: Final = 0.2
_left_behind = threading.Event()


@contextlib.contextmanager
def pool(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that are waited for, whatever happens, but by somebody who presses Ctrl-C."""
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield threads
    except KeyboardInterrupt:
        _left_behind.set()
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        threads.shutdown(wait=True, cancel_futures=True)
        raise
    threads.shutdown(wait=True)


def interruptible(call: Callable[[], Result]) -> Result:
    """What ``call`` returns or raises. On the main thread, where foreign code would not look for
    Ctrl-C until it is done, somebody else makes the call."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as e:  # noqa: BLE001 - it is raised where it was called
            done.set_exception(e)

    # As a daemon it does not keep the interpreter alive.
    threading.Thread(target=run, name="request", daemon=True).start()
    return next(in_order([done]))


def in_order(futures: Iterable[Future[Result]]) -> Iterator[Result]:
    """The results one after the other, as they are there; signals are heard meanwhile."""
    for future in futures:
        # Again and again: a signal that the system hands to another thread does not wake this one.
        while not wait((future,), _LOOK_SECONDS).done:
            pass
        yield future.result()


def end_without_those_left_behind(code: int) -> None:
    """End the process at once if Ctrl-C has left threads behind, for which it would wait."""
    if _left_behind.is_set():
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
